"""Reports in a real browser: no console errors, and filters that filter."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from flaxner import TrainConfig
from flaxner.evaluation.predictions import Predicted
from flaxner.evaluation.word_scores import WordScores
from flaxner.reporting.page import page
from flaxner.reporting.record import RunRecord
from tests.browser import HOSTILE, opened

pytestmark = pytest.mark.slow
ROWS = [  # words, annotated, predicted
    ("Ann left", "B-PER O", "O O"),
    (f"{HOSTILE} left", "O O", "B-PER O"),
    ("in Berlin", "O B-LOC", "O B-PER"),
    ("New York City", "B-LOC I-LOC I-LOC", "B-LOC I-LOC O"),
    ("all right", "O O", "O O"),
]


def written(rows, folder):
    """Write the page of a run with these sentences, and return its path."""
    rows = [Predicted(tuple(w.split()), tuple(g.split()), tuple(f.split())) for w, g, f in rows]
    words = sum(len(row.words) for row in rows)
    scores = {"test": WordScores(np.linspace(0.1, 0.9, words), None)}
    metrics = [{"step": i, "loss": 1 / (i + 1)} for i in range(50)]
    config = TrainConfig(dataset="x", output_dir="runs/x")
    record = RunRecord(
        Path("runs/x"), config, metrics, {}, {"test": rows}, scores, None, {("Ann",)}
    )
    path = folder / "report.html"
    path.write_text(page([record]), "utf-8")
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return written(ROWS, tmp_path_factory.mktemp("page"))


def test_filters_show_what_they_say(file):
    with opened(file) as (shown, said):
        box = shown.locator(".errors")
        told = box.locator(".told")

        def sentences():
            texts = box.locator(".item .row:nth-child(2) .text").all_inner_texts()
            return ["".join(text.split()) for text in texts]

        assert told.inner_text() == "4 errors in 4 sentences"
        assert len(sentences()) == 4
        for kind, word in [
            ("missed", "Ann"),
            ("spurious", "</script>"),
            ("wrong type", "Berlin"),
            ("wrong boundary", "NewYork"),
        ]:
            box.locator("[name=kind]").select_option(kind)
            assert len(sentences()) == 1
            assert word in sentences()[0]
        box.locator("[name=kind]").select_option("")
        box.locator("[name=type]").select_option("LOC")
        assert told.inner_text() == "2 errors in 2 sentences"
        box.locator("[name=type]").select_option("")
        box.locator("[name=seen]").select_option("seen")
        assert sentences() == ["AnnPERleft"]
        box.locator("[name=seen]").select_option("not seen")
        assert told.inner_text() == "3 errors in 3 sentences"
        box.locator("[name=seen]").select_option("")
        box.locator("[name=search]").fill("york")
        assert told.inner_text() == "1 error in 1 sentence"
        box.locator("[name=search]").fill("no such word")
        assert sentences() == []
        box.locator("[name=search]").fill("")
        orders = {}
        for order in ("surest", "unsure", "place"):
            box.locator("[name=order]").select_option(order)
            orders[order] = sentences()
        assert orders["surest"] == orders["unsure"][::-1]
        assert orders["place"][0].startswith("Ann")
        assert said == [], "there must be no errors and no requests"


def test_a_long_sentence_shown_once_per_error_is_counted_once(tmp_path):
    rows = [("word " * 200, "B-PER " + "O " * 198 + "B-LOC", "O " * 200), *ROWS[:1]]
    with opened(written(rows, tmp_path)) as (shown, _):
        assert shown.locator(".errors .item").count() == 3
        assert shown.locator(".told").inner_text() == "3 errors in 2 sentences"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(file, scheme, tmp_path):
    screen = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme}
    with opened(file, **screen) as (shown, said):
        assert shown.evaluate("document.documentElement.scrollWidth") <= 360
        ground = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(18, 24, 30)") == (scheme == "dark")
        assert shown.screenshot(full_page=True)
        assert said == []


def test_long_types_and_many_of_them_fit_a_phone(tmp_path):
    kinds = [f"ORGANISATION_WITH_A_LONG_NAME_THAT_DOES_NOT_END_{i}" for i in range(60)]
    rows = [("Ann left", f"B-{kind} O", f"B-{other} O") for kind, other in pairwise(kinds)]
    phone = {"viewport": {"width": 360, "height": 740}}
    with opened(written(rows, tmp_path), **phone) as (shown, said):
        assert shown.evaluate("document.documentElement.scrollWidth") <= 360
        matrix = shown.locator(".matrix")
        matrix.evaluate("box => box.scrollTo(2000, 2000)")
        box = matrix.bounding_box()
        head, row = matrix.locator("th").nth(30), matrix.locator("td:first-child").nth(30)
        assert 0 <= head.bounding_box()["y"] - box["y"] < 20, "columns keep their names in view"
        assert 0 <= row.bounding_box()["x"] - box["x"] < 20, "rows keep their names in view"
        assert row.bounding_box()["width"] < 250
        assert said == []


def test_an_entity_and_its_type_stay_together_in_a_right_to_left_sentence(tmp_path):
    rows = [("زار John مدينة Bob", "O O B-LOC O", "O O B-<b> O")]
    with opened(written(rows, tmp_path)) as (shown, _):
        for mark in shown.locator(".item mark").all():
            assert mark.evaluate("mark => mark.getClientRects().length") == 1
            ends = [part.bounding_box()["x"] for part in mark.locator("b, small").all()]
            assert ends == sorted(ends, reverse=True), "the word, its type, its score: leftwards"


def test_a_page_is_printed_in_dark_ink_with_whole_charts(file):
    with opened(file, color_scheme="dark") as (shown, _):
        shown.emulate_media(media="print")
        style = "(element, name) => getComputedStyle(element)[name]"
        assert shown.locator("body").evaluate(style, "color") == "rgb(29, 39, 51)"
        chart = shown.locator(".charts .card").first
        assert chart.evaluate(style, "breakInside") == "avoid"
        assert shown.locator(".scroll").first.evaluate(style, "overflowX") == "visible"


def test_a_page_without_scripts_names_the_file_of_its_errors(file):
    with opened(file, java_script_enabled=False) as (shown, _):
        assert "predictions/test.conll" in shown.locator(".errors noscript").inner_text()
