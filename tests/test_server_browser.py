"""The server's page in a browser: what users see and do."""

import shutil
import threading

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

from flaxner.inference.pipeline import pipeline
from tests.pipelines import make_folder
from tests.servers import Slow, running
from tests.wordpiece import TEXTS

pytestmark = pytest.mark.slow
playwright = pytest.importorskip("playwright.sync_api")
HOSTILE = "😀 <script>alert(1)</script> [red] Berlin \u202eabc"


@pytest.fixture(scope="module")
def ner(tmp_path_factory):
    return pipeline("ner", model=make_folder(tmp_path_factory.mktemp("model") / "hub"))


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as starter:
        found = shutil.which("chromium") or shutil.which("google-chrome")
        try:
            made = starter.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        yield made
        made.close()


@pytest.fixture
def page(browser):
    made = browser.new_page()
    made.said = []
    made.on("console", lambda message: made.said.append(message.text))
    made.on("pageerror", lambda error: made.said.append(str(error)))
    yield made
    made.close()


def marks(page):
    """Return the words and types of the entities that the page shows."""
    found = []
    for mark in page.query_selector_all("mark"):
        label = mark.query_selector("small").inner_text()
        found.append((mark.inner_text().removesuffix(label).rstrip(), label.split(" ")[0]))
    return found


def test_typing_shows_entities_and_their_json(page, ner):
    with running("-", models={"tiny": ner, "other": ner}) as server:
        page.goto(f"http://127.0.0.1:{server.port}/")
        for strategy in ("word", "simple", "none"):
            page.select_option("#strategy", strategy)
            for text in (TEXTS[2], HOSTILE.replace("\u202e", ""), ""):
                with page.expect_response("**/ner") as answer:
                    page.fill("#text", text)
                    page.click("#ask")
                assert answer.value.status == 200
                page.wait_for_timeout(500)  # the pause after typing triggers another request
                expected, place = [], 0
                for entity in ner(text, aggregation_strategy=strategy):
                    if entity["start"] >= place:
                        kind = entity.get("entity_group", entity.get("entity"))
                        expected.append((text[entity["start"] : entity["end"]].rstrip(), kind))
                        place = entity["end"]
                assert marks(page) == expected
        page.select_option("#strategy", "word")
        page.fill("#text", HOSTILE)
        page.wait_for_timeout(700)
        assert page.inner_text("#found").startswith("😀")
        assert "\\u202eabc" in "".join(word for word, _ in marks(page)) + page.inner_text("#found")
        assert "\u202e" not in page.inner_text("#found")
        page.select_option("#model", "other")
        page.fill("#text", TEXTS[0])
        page.wait_for_timeout(700)
        page.click("summary")
        assert '"model": "other"' in page.inner_text("#json")
        page.fill("#threshold", "1")
        page.press("#threshold", "Tab")
        page.wait_for_timeout(300)
        assert marks(page) == []
    assert page.said == []


def test_a_busy_server_and_a_stopped_one_are_reported(page, ner, monkeypatch):
    with running("-", models={"tiny": ner}, queue=1, timeout=20) as server:
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.wait_for_selector("mark, #state:not(:empty)")
        slow = Slow(ner, monkeypatch)
        asked = [
            threading.Thread(target=lambda: server.client().ask("/ner", {"text": "x"}))
            for _ in range(2)
        ]
        asked[0].start()
        while not slow.passes:
            page.wait_for_timeout(10)
        asked[1].start()
        while not len(server.service.batcher.waiting):
            page.wait_for_timeout(10)
        page.click("#ask")
        page.wait_for_selector("#error:not(:empty)")
        assert page.inner_text("#error") == "the server is busy: try again in 1 s"
        slow.go.set()
        for thread in asked:
            thread.join()
        page.click("#ask")
        page.wait_for_selector("#error:empty", state="attached")
    page.click("#ask")
    page.wait_for_selector("#error:not(:empty)")
    assert "does not respond" in page.inner_text("#error")


def test_a_text_over_the_limit_is_refused_rather_than_cut(page, ner):
    with running("-", models={"tiny": ner}, max_length=60) as server:
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.fill("#text", "")
        page.focus("#text")
        page.keyboard.insert_text("Ann went to Berlin. " * 4)
        page.wait_for_selector("#error:not(:empty)")
        assert "at most 60 characters" in page.inner_text("#error")
