"""Prediction files: word, annotated tag and predicted tag a line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from flaxner.files import write_text


@dataclasses.dataclass(frozen=True)
class Predicted:
    """A sentence with gold and predicted tags (IOB2)."""

    words: tuple[str, ...]
    gold: tuple[str, ...]
    tags: tuple[str, ...]


def read_predictions(path: str | Path) -> list[Predicted]:
    """Read a file of `word gold predicted` lines, as a run writes it.

    Raises:
      ValueError: a line with another number of columns, with its number.
    """
    sentences: list[Predicted] = []
    rows: list[list[str]] = []
    for number, line in enumerate([*Path(path).read_text("utf-8").split("\n"), ""], 1):
        columns = line.split(" ")
        if line and len(columns) != 3:
            raise ValueError(f"{path}:{number}: a line must hold word, gold and predicted tag")
        if line:
            rows.append(columns)
        elif rows:
            words, gold, tags = zip(*rows, strict=True)
            sentences.append(Predicted(words, gold, tags))
            rows = []
    return sentences


def write_predictions(
    path: Path,
    sentences: Iterable[tuple[Iterable[str], Iterable[str], Iterable[str]]],
) -> None:
    """`word gold predicted` a line, a blank line between sentences."""
    blocks = (
        "".join(f"{word} {a} {b}\n" for word, a, b in zip(words, gold, predicted, strict=True))
        for words, gold, predicted in sentences
    )
    write_text(path, "\n".join(blocks))
