"""The audit page in a real browser: deciding, filtering, and saving the file."""

import json

import pytest

from flaxner.audit.findings import Finding, read_decisions
from flaxner.audit.run import page
from flaxner.data.tags import Span
from tests.browser import HOSTILE, opened

pytestmark = pytest.mark.slow
FINDINGS = [
    Finding("x.conll", 1, ("Ann", "left"), (), (Span(0, 1, "PER"),), 0.9, "dropped", "because"),
    Finding("x.conll", 2, ("in", HOSTILE), (Span(1, 2, "PER"),), (), 0.8, "invented", HOSTILE),
    Finding(
        "x.conll", 3, ("in", "Bonn"), (Span(1, 2, "PER"),), (Span(1, 2, "LOC"),), 0.7, "type", "x"
    ),
]


def written(findings, folder):
    """Write the page of an audit with these findings, and return its path."""
    path = folder / "audit.html"
    given = [list(finding.given) for finding in findings]
    path.write_text(page("runs/x", findings, given), "utf-8")
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return written(FINDINGS, tmp_path_factory.mktemp("page"))


def test_decisions_are_made_and_saved(file, tmp_path):
    with opened(file) as (shown, said):
        items = shown.locator(".item")
        told = shown.locator("#told")
        assert items.count() == 3
        assert shown.locator("#save").is_disabled()
        items.nth(0).get_by_role("button", name="accept").click()
        items.nth(1).focus()
        shown.keyboard.press("r")
        shown.keyboard.press("a")  # the focus has moved to the next one
        assert told.inner_text() == "3 shown, 2 accepted, 1 rejected"
        shown.locator("[name=decided]").select_option("reject")
        assert items.count() == 1
        assert HOSTILE in items.nth(0).inner_text()
        shown.locator("[name=decided]").select_option("")
        shown.locator("[name=kind]").select_option("type")
        assert items.count() == 1
        shown.locator("[name=kind]").select_option("")
        shown.locator("[name=type]").select_option("LOC")
        assert items.count() == 1
        shown.locator("[name=type]").select_option("")
        shown.locator("[name=search]").fill("ann")
        assert items.count() == 1
        shown.locator("[name=search]").fill("")
        items.nth(0).focus()
        shown.keyboard.press("u")
        assert told.inner_text() == "3 shown, 1 accepted, 1 rejected"
        with shown.expect_download() as got:
            shown.locator("#save").click()
        saved = tmp_path / "decisions.jsonl"
        got.value.save_as(saved)
        assert said == []
    rows = [json.loads(line) for line in saved.open(encoding="utf-8")]
    assert [(row["sentence"], row["decision"]) for row in rows] == [(2, "reject"), (3, "accept")]
    (decision,) = read_decisions(saved)
    assert decision.words == FINDINGS[2].words
    assert decision.suggested == FINDINGS[2].suggested


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_on_a_phone(file, scheme):
    screen = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme}
    with opened(file, **screen) as (shown, said):
        assert shown.evaluate("document.documentElement.scrollWidth") <= 360
        bar = shown.locator(".bar-top").evaluate("bar => getComputedStyle(bar).position")
        assert bar == "static", "its filters would cover a third of the screen"
        assert said == []


def test_long_words_fit_on_a_phone(tmp_path):
    word = "n" + 60 * "o"
    finding = Finding(f"{word}.conll", 1, (word,), (), (Span(0, 1, "PER"),), 0.9, "dropped", word)
    phone = {"viewport": {"width": 360, "height": 740}}
    with opened(written([finding], tmp_path), **phone) as (shown, _):
        assert shown.evaluate("document.documentElement.scrollWidth") <= 360
