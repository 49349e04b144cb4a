"""Entities as coloured HTML: any text is shown literally, and results remain plain lists."""

import copy
import html
import json
import pickle
import re
from pathlib import Path

import pytest

import flaxner
from flaxner import templates
from flaxner.inference.rendering import MOST_SHOWN, Entities, ManyEntities
from flaxner.templates.colours import LINES, ON_PAGES, page_colours

TEXT = "Ann <script>alert(1)</script> met [red]Bob[/red] \u202eabc in Berlin & Paris."


def entity(name, kind, **more):
    start = TEXT.index(name)
    return {"start": start, "end": start + len(name), "entity_group": kind, **more}


FOUND = [entity("Berlin", "LOC", score=0.5), entity("Ann", "PER", score=0.987)]


def test_text_stays_text_and_entities_have_type_and_score():
    made = flaxner.render(TEXT, FOUND)
    assert "<script" not in made
    assert "\u202e" not in made
    plain = re.sub(r" <(b|small)[^>]*>.*?</\1>", "", made)
    plain = html.unescape(re.sub(r"<[^>]*>", "", plain)).strip()
    assert plain == TEXT.replace("\u202e", "\\u202e")
    assert made.count("<mark") == 2
    assert ">PER</b>" in made
    assert ">0.99</small>" in made
    assert ">0.50</small>" in made
    # In a right-to-left text, a type would otherwise be drawn next to a Latin word that follows.
    assert len(re.findall('<(?:mark|b|small) style="unicode-bidi:isolate', made)) == 6


def test_single_tokens_have_the_colour_of_their_type():
    made = flaxner.render("Ann", [{"start": 0, "end": 3, "entity": "B-PER"}])
    assert page_colours(["PER"])["PER"] in made
    assert ">B-PER</b>" in made


@pytest.mark.parametrize(
    ("entities", "message"),
    [
        ([{"start": 0, "end": 99, "entity": "PER"}], "lies outside the text"),
        ([entity("Berlin", "LOC"), entity("Berlin & Paris", "LOC")], "overlaps"),
        ([{"start": None, "end": 3, "entity": "PER"}], "must have start, end"),
        ([{"start": 0, "end": 3}], "must have start, end"),
        (["Ann"], "must have start, end"),
    ],
)
def test_entities_that_cannot_be_shown_are_refused(entities, message):
    with pytest.raises(ValueError, match=message):
        flaxner.render(TEXT, entities)


def test_results_stay_plain_lists():
    one = Entities(FOUND, TEXT, ("LOC", "PER"))
    many = ManyEntities([one, Entities((), "x")])
    assert one == FOUND
    assert many == [FOUND, []]
    assert json.loads(json.dumps(many)) == [FOUND, []]
    for again in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert (again, again.text, again.types) == (one, TEXT, ("LOC", "PER"))
    assert one._repr_html_() == flaxner.render(TEXT, FOUND)
    assert many._repr_html_().count('class="flaxner-text"') == 2
    one.append({"no": "entity"})
    assert one._repr_html_() is None, "notebooks fall back to the plain list"
    long = ManyEntities(Entities((), "x") for _ in range(MOST_SHOWN + 5))
    assert long._repr_html_().endswith("<p>and 5 texts more</p>")


def test_colours_are_distinct_while_there_are_enough():
    names = [f"type {i}" for i in range(len(ON_PAGES))]
    assert len(set(page_colours(names).values())) == len(names)
    assert page_colours(["PER", "x"])["PER"] == page_colours(["PER"])["PER"]


def test_lines_stand_out_from_light_and_dark_cards():
    """WCAG 2, 1.4.11: a contrast of 3:1, of the relative luminances plus 0.05."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        light = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), light, strict=True)) + 0.05

    style = (Path(templates.__file__).parent / "page_style.css.jinja").read_text()
    white, dark = re.findall(r"--card: (#\w+)", style)
    assert white == "#fff"
    for colour in LINES:
        assert 1.05 / luminance(colour) >= 3
        assert luminance(colour) / luminance(dark) >= 3
