r"""Prediction files: word, annotated tag and predicted tag a line, a blank line after a sentence.

conlleval and its ports read them, splitting at white space, so what would break a line apart is
written as `\u{HEX}`: white space and line ends of every kind, halves of surrogate pairs, an empty
word (`\u{}`), the minus of a word `-X-` (conlleval's own mark of a border), and the backslash of
a word that looks like such an escape. All else stands as it is.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from flaxner.files import write_text

# \s is less than what str.split() splits at, and that less than what breaks a line somewhere.
_BREAKING = re.compile(r"[\s\x00-\x20\x7f-\xa0\u2028\u2029\ufeff\ud800-\udfff]")
_ESCAPE = re.compile(r"\\u\{([0-9a-f]*)\}")
_BORDER = "-X-"
_TAG = re.compile(r"O|[BI]-.+", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Predicted:
    """A sentence with gold and predicted tags (IOB2)."""

    words: tuple[str, ...]
    gold: tuple[str, ...]
    tags: tuple[str, ...]


def escape(text: str) -> str:
    """A word or a tag as one column of a prediction file; see the module."""
    if not text:
        return "\\u{}"
    if text == _BORDER:
        return _escaped("-") + text[1:]
    text = _ESCAPE.sub(lambda found: _escaped("\\") + found[0][1:], text)
    return _BREAKING.sub(lambda found: _escaped(found[0]), text)


def unescape(column: str) -> str:
    """The word or tag that `escape` wrote."""
    return _ESCAPE.sub(lambda found: _character(found[1], found[0]), column)


def _character(digits: str, else_: str) -> str:
    code = int(digits, 16) if digits else -1
    return chr(code) if 0 <= code < 0x110000 else else_ if digits else ""


def _escaped(character: str) -> str:
    return f"\\u{{{ord(character):x}}}"


def write_predictions(path: Path, sentences: Iterable[Predicted]) -> list[str]:
    """Write a prediction file; sentences without words leave no trace in it.

    Returns:
      what a reader of the file must know, one sentence or none.
    """
    blocks, changed = [], ""
    for sentence in sentences:
        lines = []
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
        f"{path}: what white space or line ends in words or types would break apart is written "
        f"as \\u{{...}} (first: {changed})"
    ]


def read_predictions(path: str | Path) -> list[Predicted]:
    """Read a file that `write_predictions` wrote, now or before it escaped anything.

    Raises:
      ValueError: not there, or a line that is not word, gold and predicted tag, with its number.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8")  # as it is: no line end is translated
    except OSError as error:
        raise ValueError(f"cannot read the predictions {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8: {error}") from error
    sentences: list[Predicted] = []
    rows: list[tuple[str, str, str]] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line:
            rows.append(_row(f"{path}:{number}", line, first=not rows))
        elif rows:
            words, gold, tags = zip(*rows, strict=True)
            sentences.append(Predicted(words, gold, tags))
            rows = []
    return sentences


def _row(place: str, line: str, *, first: bool) -> tuple[str, str, str]:
    columns = line.split(" ")
    if len(columns) != 3:
        return _unescaped_row(place, columns)
    if first and not columns[0]:
        raise ValueError(
            f"{place}: the word is empty or a line end, which an earlier version wrote as nothing"
        )
    word, gold, predicted = (unescape(column) for column in columns)
    return word, gold, predicted


def _unescaped_row(place: str, parts: Sequence[str]) -> tuple[str, str, str]:
    """A line of an earlier version, whose words and types may hold spaces."""
    readings = [
        (" ".join(parts[:i]), gold, predicted)
        for j in range(2, len(parts))
        for i in range(1, j)
        if _TAG.fullmatch(gold := " ".join(parts[i:j]))
        and _TAG.fullmatch(predicted := " ".join(parts[j:]))
    ]
    if len(readings) != 1:
        several = ", and can be read in several ways" if readings else ""
        raise ValueError(f"{place}: a line must hold word, gold and predicted tag{several}")
    return readings[0]
