"""Whatever is given to a template comes out as text."""

import html
from importlib import resources

import pytest
from jinja2 import UndefinedError

from flaxner import templates
from flaxner.data.labels import LabelScheme
from flaxner.models.encoders import ENCODERS
from flaxner.publishing.model_card import model_card
from tests.test_model_card import REPORT, TRAIN, TrainConfig

HOSTILE = "<script>alert(1)</script> \x1b[2J \u202eabc | `x` *y* $z$ _q_ a_b"


def study(text):
    """Return a study as the page takes it, with every string of it foreign."""
    kinds = {"accuracy": 0.5, "silhouette": 0.1, "occurrences": 12, "majority": 0.5}
    part = {"f1": 0.5, "entities": 3}
    tagger = {"all": part, "seen": part, "unseen": part, "validation_f1": None, "grid": [1]}
    example = {"type": "LOC", "text": (text, text, text), "neighbours": [(text, 0.5, "O")]}
    word = {"form": text, "figure": "word.png", "examples": [example]}
    return {
        "words": [{**word, "static_neighbours": [(text, 0.5)]}],
        "static": {"name": text, "source": text, "vocabulary": 5, "width": 3},
        "contextual": {"name": text, "layers": [1], "of_layers": 2, "pooling": "mean"},
        "separation": [{"name": text, **kinds, "forms": {text: kinds}}] * 2,
        "taggers": [{"name": f"{n} {text}", "seconds": 1.0, **tagger} for n in ("static", "BERT")],
        "types": ["LOC"],
        "occurrences_in": text,
        "limits": {"ambiguous_forms": 75, "least": 4, "per_type": 60},
        "corpus": text,
        "oov": {"test": 0.1, "test names": 0.2},
        "frozen_note": text,
        "seconds": 3.0,
    }


def test_nothing_on_a_page_runs_as_code():
    from flaxner.embeddings.page import page

    images = dict.fromkeys(("word.png", "separation.png", "taggers.png"), b"png")
    made = page(study(HOSTILE), images)
    assert "<script" not in made
    assert not {"\x1b", "\u202e"} & set(made)
    assert made.count(html.escape("<script>alert(1)</script>")) >= 12
    assert "\\x1b[2J \\u202eabc" in made


def test_a_comparison_says_which_forms_and_occurrences_it_compares():
    from flaxner.embeddings.page import page

    images = dict.fromkeys(("word.png", "separation.png", "taggers.png"), b"png")
    made = page(study("x"), images)
    assert (
        "75 forms occur with two or more types, at least 4 times with each. 1 are compared" in made
    )
    assert "in 12 occurrences: at most 60 of each type of a form" in made
    limits = {"limits": {"ambiguous_forms": 1, "least": 4, "per_type": 60}}
    assert "All are compared" in page(study("x") | limits, images)


def test_nothing_in_a_card_becomes_markup():
    from markdown_it import MarkdownIt

    config = TrainConfig(dataset="flaxner:embedded", output_dir=f"runs/{HOSTILE.replace('/', '')}")
    report = {**REPORT, "per_type": {HOSTILE: REPORT["per_type"]["PER"]}}
    scheme = LabelScheme.from_types([HOSTILE])
    made = model_card(config, scheme, ENCODERS["bert"], {"test": report, "train": TRAIN})
    body = made.split("\n---\n", 1)[1]
    assert not {"\x1b", "\u202e"} & set(body)
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(body)
    inside = [child for token in tokens for child in token.children or ()]
    assert {token.type for token in tokens} | {child.type for child in inside} <= {
        *("heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline", "text"),
        *("fence", "code_inline", "strong_open", "strong_close", "text_special", "softbreak"),
        *("table_open", "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close"),
        *("tr_open", "tr_close", "th_open", "th_close", "td_open", "td_close"),
        *("bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close"),
    }
    code = next(token.content for token in tokens if token.type == "fence")
    compile(code, "card", "exec")


def test_a_missing_value_is_an_error():
    with pytest.raises(UndefinedError, match="head"):
        templates.markdown("model_card.md.jinja")


def test_templates_are_package_data():
    files = {file.name for file in resources.files("flaxner.templates").iterdir()}
    assert {"model_card.md.jinja", "embeddings.html.jinja"} <= files
