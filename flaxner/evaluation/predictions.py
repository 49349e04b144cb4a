r"""Prediction files: word, gold tag and predicted tag on each line, a blank line after a sentence.

With document context, a line -DOCSTART- O O and a blank line precede each document. conlleval and
its ports can read these files; characters that would break a line apart are escaped as in
`data.column_text`.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from flaxner.data.column_text import DOCUMENT_MARK, escape, unescape
from flaxner.data.corpus import Sentence
from flaxner.data.documents import document_numbers
from flaxner.data.tags import Span, tags_to_spans
from flaxner.files import write_text

MARK = (DOCUMENT_MARK, "O", "O")
_TAG = re.compile(r"O|[BI]-.+", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Predicted:
    """A sentence with gold and predicted tags (IOB2), and the number of its document, if known."""

    words: tuple[str, ...]
    gold: tuple[str, ...]
    tags: tuple[str, ...]
    document: int | None = None

    @functools.cached_property
    def annotated(self) -> list[Span]:
        """Annotated entities."""
        return tags_to_spans(self.gold)

    @functools.cached_property
    def found(self) -> list[Span]:
        """Entities that the model found."""
        return tags_to_spans(self.tags)


def predicted(
    sentences: Iterable[Sentence], tags: Iterable[Sequence[str]], *, in_documents: bool
) -> list[Predicted]:
    """Return the non-empty sentences with gold tags, if any, and predicted tags.

    Documents are numbered if `in_documents`.
    """
    rows = [(s, t) for s, t in zip(sentences, tags, strict=True) if s.words]
    numbers: list[int | None] = [None] * len(rows)
    if in_documents:
        numbers = list(document_numbers([s.document for s, _ in rows]).tolist())
    return [
        Predicted(s.words, s.tags or (), tuple(t), number)
        for (s, t), number in zip(rows, numbers, strict=True)
    ]


def write_predictions(path: Path, sentences: Iterable[Predicted]) -> list[str]:
    """Write a prediction file; sentences without words are left out.

    Returns:
      a note for readers of the file, in one sentence, or nothing. It has only the file's name, as
      the folder may still be renamed.
    """
    blocks, changed = [], ""
    document: int | None = None
    for sentence in sentences:
        lines = []
        if sentence.words and sentence.document != document:
            document = sentence.document
            blocks.append(f"{DOCUMENT_MARK} O O\n")
        for row in zip(sentence.words, sentence.gold, sentence.tags, strict=True):
            columns = [escape(text) for text in row]
            lines.append(" ".join(columns) + "\n")
            if not changed and columns != list(row):
                changed = next(
                    f"{c} for {t!r}" for c, t in zip(columns, row, strict=True) if c != t
                )
        if lines:
            blocks.append("".join(lines))
    write_text(path, "\n".join(blocks))
    if not changed:
        return []
    return [
        f"{path.name}: characters that would break a line, such as white space inside words, are "
        f"written as \\u{{...}} (first: {changed})"
    ]


def read_predictions(path: str | Path) -> list[Predicted]:
    """Read a file that this or an earlier, unescaping version of `write_predictions` wrote.

    Raises:
      ValueError: the file cannot be read, or a line is not word, gold and predicted tag; the
        message has the line number.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise ValueError(f"cannot read the predictions {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from error
    sentences: list[Predicted] = []
    rows: list[tuple[str, str, str]] = []
    distinct: dict[str, str] = {}  # equal words are stored once
    document: int | None = None
    for number, line in enumerate([*text.split("\n"), ""], 1):  # only at LF: words may hold CR
        if line == " ".join(MARK) and not rows:
            rows.append(MARK)
        elif line:
            rows.append(_row(f"{path}:{number}", line, first=not rows))
        elif len(rows) == 1 and rows[0] is MARK:  # not a word: in a sentence it would be escaped
            document, rows = 0 if document is None else document + 1, []
        elif rows:
            columns = zip(*rows, strict=True)
            words, gold, tags = (tuple(map(distinct.setdefault, c, c)) for c in columns)
            sentences.append(Predicted(words, gold, tags, document))
            rows = []
    return sentences


def _row(place: str, line: str, *, first: bool) -> tuple[str, str, str]:
    columns = line.split(" ")
    if len(columns) != 3:
        return _unescaped_row(place, columns)
    if first and not columns[0]:
        raise ValueError(
            f"{place}: the word is empty, or a line end that an earlier version did not write"
        )
    word, gold, predicted = (unescape(column) for column in columns)
    if not (_TAG.fullmatch(gold) and _TAG.fullmatch(predicted)):
        raise ValueError(f"{place}: gold and predicted tags must be IOB2: got {gold}, {predicted}")
    return word, gold, predicted


def _unescaped_row(place: str, parts: Sequence[str]) -> tuple[str, str, str]:
    """Parse a line written by an earlier version, whose words and types may contain spaces."""
    readings = [
        (" ".join(parts[:i]), gold, predicted)
        for j in range(2, len(parts))
        for i in range(1, j)
        if _TAG.fullmatch(gold := " ".join(parts[i:j]))
        and _TAG.fullmatch(predicted := " ".join(parts[j:]))
    ]
    if len(readings) != 1:
        several = ", but this one is ambiguous" if readings else ""
        raise ValueError(f"{place}: a line must hold word, gold and predicted tag{several}")
    return readings[0]
