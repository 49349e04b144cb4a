"""Output of the comparison: tables on the terminal, comparison.json, index.html, figures/."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from flaxner.embeddings import plots
from flaxner.embeddings.page import page
from flaxner.embeddings.settings import COMPARISON
from flaxner.files import write_bytes, write_folder, write_json, write_text


def write_report(
    folder: Path, study: Mapping[str, Any], console: Console, heads: Path | None = None
) -> None:
    """Draw, write and print a study.

    Args:
      folder: the output folder.
      study: the content of comparison.json.
      console: where the tables go.
      heads: logs of the heads' trials, copied to heads/.

    Raises:
      ValueError: files that flaxner did not write, or that were changed, are in the way.
    """
    styles = plots.type_styles(study["types"])
    names = (study["static"]["name"], study["contextual"]["name"])
    figures = {word["figure"]: plots.word_figure(word, styles, names) for word in study["words"]}
    figures["separation.png"] = plots.separation_figure(study["separation"])
    if study["taggers"]:
        figures["taggers.png"] = plots.tagger_figure(study["taggers"], study["corpus"])

    def fill(draft: Path) -> None:
        for name, png in figures.items():
            write_bytes(draft / "figures" / name, png)
        write_json(draft / "comparison.json", study)
        write_text(draft / "index.html", page(study, figures))
        if heads is not None and heads.is_dir():
            shutil.copytree(heads, draft / "heads")

    for text in write_folder(folder, COMPARISON, fill):
        console.print(text)
    for table in tables(study):
        console.print(table)
    console.print(f"page: {folder / 'index.html'}")


def tables(study: Mapping[str, Any]) -> list[Table]:
    """Return the study as tables for a terminal."""
    shown = [_neighbours(study), _separation(study)]
    return [*shown, _taggers(study)] if study["taggers"] else shown


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left", overflow="fold")
    return table


def _neighbours(study: Mapping[str, Any]) -> Table:
    table = Table(title="Nearest neighbours", title_justify="left", show_lines=True)
    for name in ("word", "where", "nearest"):
        table.add_column(name, overflow="fold")
    for word in study["words"]:
        near = ", ".join(f"{other} {cosine:.2f}" for other, cosine in word["static_neighbours"][:5])
        table.add_row(word["form"], "static: any sentence", near)
        for item in word["examples"]:
            near = ", ".join(f"{form} ({kind}) {c:.2f}" for form, c, kind in item["neighbours"])
            table.add_row("", f"{item['type']}: {' '.join(item['text'])}", near)
    return table


def _separation(study: Mapping[str, Any]) -> Table:
    first = study["separation"][0]
    title = f"Types of {len(first['forms'])} ambiguous forms, {first['occurrences']} occurrences"
    table = _table(title, "vectors", "nearest centroid", "silhouette")
    for row in study["separation"]:
        table.add_row(row["name"], f"{row['accuracy']:.3f}", f"{row['silhouette']:.3f}")
    table.add_row("always the most frequent type", f"{first['majority']:.3f}", "")
    return table


def _taggers(study: Mapping[str, Any]) -> Table:
    first = study["taggers"][0]
    oov = study["oov"]
    title = (
        f"Test F1 on {study['corpus']}; {oov['test']:.1%} of the words have no static vector, "
        f"{oov['test names']:.1%} of those in names"
    )
    heads = [f"{part} ({first[part]['entities']})" for part in ("all", "seen", "unseen")]
    table = _table(title, "tagger", *heads, "seconds")
    for row in study["taggers"]:
        parts = (row[part] for part in ("all", "seen", "unseen"))
        scores = [f"{part['f1']:.4f}" if part["entities"] else "-" for part in parts]
        table.add_row(row["name"], *scores, f"{row['seconds']:.0f}")
    return table
