"""Which column of a column file holds the words: shown by the first rows, said, asked in doubt."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence, Set
from pathlib import Path
from typing import NamedTuple

from flaxner.data.readers.column_kinds import CHUNKED, ENTITIES, OUTSIDE_ONLY, kind_of, some
from flaxner.data.readers.source import BadCorpus
from flaxner.data.tags import parse_tag

# 3; a contraction 3-4 and an empty node 5.1 of CoNLL-U; a sentence and its word, 2-7.
_NUMBER = re.compile(r"\d+(?:[-.]\d+)?", re.ASCII)
ENOUGH = 200  # rows in which words are repeated, and what differs in every row is none
FEW = 10  # values of a column from which on their number tells something


class First(NamedTuple):
    """What the first column is.

    Attributes:
      counts: it counts the words (of each sentence, or on and on), as in CoNLL-U.
      numbers: it holds numbers, whatever they count: it is not the words.
    """

    counts: bool
    numbers: bool


def first_column(rows: Sequence[Sequence[str]], begins: Set[int], width: int) -> First:
    """Whether the words may stand in the first column: numbers beside other columns are none.

    One row that breaks the count changes nothing: what it breaks, reading the row says.

    Args:
      rows: fields of the first rows.
      begins: rows that begin a sentence.
      width: the usual number of columns.
    """
    numbers, plain, steps = 0, 0, 0
    previous: int | None = None
    of_width = [(i, row[0]) for i, row in enumerate(rows) if len(row) == width]
    for i, field in of_width:
        numbers += _NUMBER.fullmatch(field) is not None
        if not field.isascii() or not field.isdecimal() or len(field) > 9:
            continue
        plain += 1
        begun = i in begins or previous is None
        steps += int(field) == (previous or 0) + 1 or (begun and int(field) in (0, 1))
        previous = int(field)
    counts = 3 * numbers >= 2 * len(of_width) and 2 * steps >= max(plain, 1)
    return First(width > 2 and counts, width > 2 and (counts or 10 * numbers >= 9 * len(of_width)))


def require_words(
    path: Path, rows: Sequence[Sequence[str]], begins: Set[int], word: int, numbers: bool
) -> None:
    """Refuse a column of words that looks like something else, where another may be the words.

    Such is a column of numbers or tags, one that is the same all over each sentence (the name of
    a document), and one with far fewer different values than another (parts of speech).

    Args:
      path: for messages.
      rows: fields of the first rows, of the usual number of columns.
      begins: rows that begin a sentence.
      word: the column that would be read.
      numbers: whether the first column holds numbers that count nothing: amounts are words.

    Raises:
      ValueError: --word-column is asked for.
    """
    columns = list(zip(*rows, strict=True))
    others = [c for c in range(len(columns)) if c != word and _may_be_words(c, columns[c], numbers)]
    if not others:
        return
    different = {c: len(set(columns[c])) for c in (word, *others)}
    most = max(others, key=lambda c: (different[c], -c))
    fewer = different[most] >= FEW and 2 * different[word] <= different[most]
    constant = _is_constant(columns[word], begins) and not _is_constant(columns[most], begins)
    if not (fewer or constant or _no_words(columns[word])):
        return
    held = [f"column {c} holds {some(map(repr, dict.fromkeys(columns[c])))}" for c in (word, most)]
    message = f"several columns may be the words: {' and '.join(held)}; say --word-column {word}"
    raise BadCorpus(path, 1, f"{message} or --word-column {most}")


def _no_words(values: Sequence[str]) -> bool:
    """Whether nearly all values are numbers, or all of them tags."""
    numbers = sum(_NUMBER.fullmatch(value) is not None for value in values)
    return 10 * numbers >= 9 * len(values) or all(parse_tag(value) is not None for value in values)


def _may_be_words(column: int, values: Sequence[str], numbers: bool) -> bool:
    """Whether a column may hold words: no numbers, tags, keys with values, or names of rows."""
    if kind_of(column, Counter(values)) in (ENTITIES, CHUNKED, OUTSIDE_ONLY):
        return False
    if _no_words(values) and not (numbers and column == 0):
        return False
    if len(values) >= ENOUGH and len(set(values)) == len(values):
        return False
    keyed = sum("=" in value or value == "_" for value in values)
    return 10 * keyed < 9 * len(values)


def _is_constant(values: Sequence[str], begins: Set[int]) -> bool:
    """Whether a column is the same in all rows of nearly every sentence, of several."""
    edges = sorted({0, *begins, len(values)})
    parts = [values[a:b] for a, b in itertools.pairwise(edges) if b - a > 1]
    same = sum(len(set(part)) == 1 for part in parts)
    return len(parts) > 1 and 10 * same >= 9 * len(parts)
