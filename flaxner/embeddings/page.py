"""The comparison as one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from typing import Any

from flaxner.embeddings.plots import type_styles

CSS = """
:root { --ink: #1d2733; --soft: #4b5a69; --line: #dde3e9; --card: #fff; --ground: #f4f6f8;
  --static: #8a5a00; --context: #0072B2; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 31px; line-height: 1.2; margin: 0 0 10px; letter-spacing: -.01em; }
h2 { font-size: 23px; margin: 44px 0 8px; }
h3 { font-size: 17px; margin: 26px 0 8px; }
p { margin: 8px 0; max-width: 78ch; } .lead { font-size: 18px; color: var(--soft); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 20px 22px; margin: 16px 0; box-shadow: 0 1px 3px rgba(20, 30, 40, .05); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(225px, 1fr)); gap: 14px;
  margin: 24px 0 8px; }
.fact { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 14px 18px; } .fact b { display: block; font-size: 26px; line-height: 1.25; }
.fact span { color: var(--soft); font-size: 14px; }
img { width: 100%; height: auto; display: block; }
table { border-collapse: collapse; width: 100%; font-size: 15px; }
caption { text-align: left; color: var(--soft); font-size: 14px; padding-bottom: 6px; }
th, td { text-align: left; padding: 7px 12px 7px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; } th { font-size: 13px; color: var(--soft); font-weight: 600; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr:last-child td { border-bottom: 0; } .scroll { overflow-x: auto; }
.tag { display: inline-block; color: #fff; border-radius: 5px; padding: 0 7px; font-size: 12.5px;
  font-weight: 700; line-height: 1.55; margin-right: 3px; } mark { background: none;
  font-weight: 700; color: inherit; border-bottom: 2px solid currentColor; }
.near { white-space: nowrap; margin-right: 14px; display: inline-block; }
.near small { color: var(--soft); }
footer { color: var(--soft); font-size: 14px; margin-top: 40px; }
code { background: #e9edf1; padding: 1px 5px; border-radius: 4px; font-size: .92em; }
"""
DARK = {"#E69F00": "#8a5a00", "#56B4E9": "#21618C", "#CC79A7": "#9a4677", "#009E73": "#00765a",
        "#D55E00": "#b34e00"}  # fmt: skip  # shades with enough contrast under white text


def page(study: Mapping[str, Any], figures: Mapping[str, bytes]) -> str:
    """The page of a study.

    Args:
      study: as `study.run` makes it.
      figures: file name -> PNG.
    """
    words = "".join(_word(word, study, figures) for word in study["words"])
    body = (
        f"<h1>Why BERT? Static and contextual word vectors, side by side</h1>"
        f'<p class="lead">{escape(_lead(study))}</p>{_facts(study)}'
        f"<h2>1. The same word in several sentences</h2><p>A static vector belongs to the "
        f"<em>form</em> of a word: two occurrences are always the same point, and their "
        f"similarity is exactly 1. BERT reads the sentence first. Below, occurrences are ordered "
        f"by their entity type; no model was trained on these sentences' types.</p>{words}"
        f"<h2>2. Can the type be told from the vector?</h2>{_separation(study, figures)}"
        f"{_taggers(study, figures)}{_footer(study)}"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>flaxner: why BERT?</title><style>{CSS}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _lead(study: Mapping[str, Any]) -> str:
    static, context = study["static"], study["contextual"]
    return (
        f"{static['name']} ({static['source']}; {static['vocabulary']:,} words, "
        f"{static['width']} numbers each) "
        f"against {context['name']}, on {study['occurrences_in']}."
    )


def _facts(study: Mapping[str, Any]) -> str:
    static, *contextual = study["separation"]
    best = max(contextual, key=lambda row: row["accuracy"])
    facts = [
        (f"{static['accuracy']:.0%}", f"right types of ambiguous forms: {static['name']}"),
        (f"{best['accuracy']:.0%}", f"right types of ambiguous forms: {best['name']}"),
    ]
    if study["taggers"]:
        still = max((r for r in study["taggers"] if "static" in r["name"]), key=_f1)
        bert = max((r for r in study["taggers"] if "BERT" in r["name"]), key=_f1)
        facts += [
            (f"{_f1(still):.2f}", f"test F1 of the best static tagger ({still['name']})"),
            (f"{_f1(bert):.2f}", f"test F1 of the best tagger on BERT ({bert['name']})"),
        ]
    cells = "".join(f'<div class="fact"><b>{a}</b><span>{escape(b)}</span></div>' for a, b in facts)
    return f'<div class="facts">{cells}</div>'


def _f1(row: Mapping[str, Any]) -> float:
    return row["all"]["f1"]


def _image(figures: Mapping[str, bytes], name: str, alt: str) -> str:
    data = base64.b64encode(figures[name]).decode()
    return f'<img alt="{escape(alt, quote=True)}" src="data:image/png;base64,{data}">'


def _tag(kind: str, study: Mapping[str, Any]) -> str:
    colour = type_styles(study["types"])[kind][0]
    text = "no name" if kind == "O" else kind
    return f'<span class="tag" style="background:{DARK.get(colour, colour)}">{escape(text)}</span>'


def _near(items: Any, study: Mapping[str, Any]) -> str:
    return "".join(
        '<span class="near">'
        + (f"{_tag(item[2], study)} " if len(item) > 2 else "")
        + f"{escape(item[0])} <small>{item[1]:.2f}</small></span>"
        for item in items
    )


def _word(word: Mapping[str, Any], study: Mapping[str, Any], figures: Mapping[str, bytes]) -> str:
    rows = []
    for item in word["examples"]:
        before, form, after = (escape(part) for part in item["text"])
        rows.append(
            f"<tr><td>{_tag(item['type'], study)}</td><td>{before} <mark>{form}</mark> {after}</td>"
            f"<td>{_near(item['neighbours'], study)}</td></tr>"
        )
    static = _near(word["static_neighbours"], study) or "not in the static vocabulary"
    alt = f"Similarity matrices and plane of the occurrences of {word['form']}"
    return (
        f'<div class="card"><h3 style="margin-top:0">{escape(word["form"])}</h3>'
        f"{_image(figures, word['figure'], alt)}"
        f"<h3>Nearest neighbours</h3><p><b>Static, in every sentence:</b> {static}</p>"
        f'<div class="scroll"><table><caption>In context: the occurrences of other words that BERT '
        f"puts nearest, with their type and cosine</caption><tr><th>type here</th>"
        f"<th>sentence</th><th>nearest occurrences</th></tr>{''.join(rows)}</table></div></div>"
    )


def _separation(study: Mapping[str, Any], figures: Mapping[str, bytes]) -> str:
    rows = study["separation"]
    first = rows[0]
    best = sorted(rows[-1]["forms"].items(), key=lambda item: -item[1]["occurrences"])[:12]
    body = "".join(
        f'<tr><td>{escape(form)}</td><td class="n">{values["occurrences"]}</td>'
        f'<td class="n">{values["majority"]:.2f}</td>'
        + "".join(
            f'<td class="n">{row["forms"][form]["accuracy"]:.2f}</td>'
            f'<td class="n">{row["forms"][form]["silhouette"]:.2f}</td>'
            for row in rows
        )
        + "</tr>"
        for form, values in best
    )
    over = "".join(f'<th class="n" colspan="2">{escape(row["name"])}</th>' for row in rows)
    heads = "".join('<th class="n">accuracy</th><th class="n">silhouette</th>' for row in rows)
    return (
        f"<p>{len(first['forms'])} forms occur with two types or more; they have "
        f"{first['occurrences']:,} occurrences. Each is held out in turn and given the type whose "
        f"centroid is nearest. For static vectors all centroids of a form are one point, so the "
        f"most frequent type is the best that can be said.</p>"
        f'<div class="card">{_image(figures, "separation.png", "Accuracy and silhouette")}</div>'
        f'<div class="card scroll"><table><caption>The forms with most occurrences</caption>'
        f'<tr><th colspan="3"></th>{over}</tr>'
        f'<tr><th>form</th><th class="n">occurrences</th><th class="n">most frequent type</th>'
        f"{heads}</tr>{body}</table></div>"
    )


def _taggers(study: Mapping[str, Any], figures: Mapping[str, bytes]) -> str:
    if not study["taggers"]:
        return ""
    rows = "".join(
        f"<tr><td>{escape(row['name'])}</td>"
        + "".join(f'<td class="n">{_score(row[part])}</td>' for part in ("all", "seen", "unseen"))
        + f'<td class="n">{_checked(row)}</td><td class="n">{row["seconds"]:.0f} s</td></tr>'
        for row in study["taggers"]
    )
    counts = study["taggers"][0]
    trials = len(counts["grid"])
    return (
        f"<h2>3. What a tagger makes of it</h2><p>The same corpus, loop and seqeval code. "
        f"Each head over fixed vectors is the best of {trials} by F1 on the validation split "
        f"(learning rates and scalings, all in <code>comparison.json</code>); the fine-tuned "
        f"BERT has one setting. {study['oov']['test']:.1%} of the test words have no static "
        f"vector, {study['oov']['test names']:.1%} of those in names. "
        f"{escape(study['frozen_note'])}</p>"
        f'<div class="card">{_image(figures, "taggers.png", "F1 of the taggers")}</div>'
        f'<div class="card scroll"><table><caption>Test F1 on {escape(study["corpus"])}; a name is '
        f"seen if training has an entity of the same words</caption><tr><th>tagger</th>"
        f'<th class="n">all ({counts["all"]["entities"]:,})</th>'
        f'<th class="n">seen ({counts["seen"]["entities"]:,})</th>'
        f'<th class="n">unseen ({counts["unseen"]["entities"]:,})</th>'
        f'<th class="n">validation F1</th><th class="n">time</th></tr>'
        f"{rows}</table></div>"
    )


def _score(part: Mapping[str, Any]) -> str:
    return f"{part['f1']:.3f}" if part["entities"] else "none"


def _checked(row: Mapping[str, Any]) -> str:
    return "none" if row["validation_f1"] is None else f"{row['validation_f1']:.3f}"


def _footer(study: Mapping[str, Any]) -> str:
    context = study["contextual"]
    return (
        f"<footer><p>Layers {escape(', '.join(map(str, context['layers'])))} of "
        f"{context['of_layers']} averaged, a word is the {escape(context['pooling'])} of its "
        f"tokens. Cosine similarity throughout. All numbers stand in <code>comparison.json</code>."
        f" Made by <code>scripts/compare_embeddings.py</code> in {study['seconds']:.0f} "
        f"seconds.</p></footer>"
    )
