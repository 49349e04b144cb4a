"""The comparison as one self-contained HTML page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from flaxner import templates
from flaxner.embeddings.plots import type_styles
from flaxner.typed_commands import command_line

DARK = {"#E69F00": "#8a5a00", "#56B4E9": "#21618C", "#CC79A7": "#9a4677", "#009E73": "#00765a",
        "#D55E00": "#b34e00"}  # fmt: skip  # shades with enough contrast under white text
FREQUENT = 12  # forms in the table of separation


def page(study: Mapping[str, Any], figures: Mapping[str, bytes]) -> str:
    """Render the page of a study.

    Args:
      study: the result of `study.run`.
      figures: file name -> PNG.
    """
    colours = {kind: colour for kind, (colour, *_) in type_styles(study["types"]).items()}
    forms = study["separation"][-1]["forms"]
    return templates.html(
        "embeddings.html.jinja",
        **study,
        facts=_facts(study),
        frequent=sorted(forms.items(), key=lambda item: -item[1]["occurrences"])[:FREQUENT],
        parts=("all", "seen", "unseen"),
        made_by=command_line("embeddings"),
        colours={kind: DARK.get(colour, colour) for kind, colour in colours.items()},
        figures={name: base64.b64encode(data).decode() for name, data in figures.items()},
    )


def _facts(study: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the numbers at the top of the page, and their captions."""
    static, *contextual = study["separation"]
    best = max(contextual, key=lambda row: row["accuracy"])
    facts = [
        (f"{static['accuracy']:.0%}", f"accuracy on ambiguous forms: {static['name']}"),
        (f"{best['accuracy']:.0%}", f"accuracy on ambiguous forms: {best['name']}"),
    ]
    if study["taggers"]:
        still = max((r for r in study["taggers"] if "static" in r["name"]), key=_f1)
        bert = max((r for r in study["taggers"] if "BERT" in r["name"]), key=_f1)
        facts += [
            (f"{_f1(still):.2f}", f"test F1 of the best static tagger ({still['name']})"),
            (f"{_f1(bert):.2f}", f"test F1 of the best BERT tagger ({bert['name']})"),
        ]
    return facts


def _f1(row: Mapping[str, Any]) -> float:
    return row["all"]["f1"]
