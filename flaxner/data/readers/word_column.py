"""Find a column file's word column: judged by the first rows, reported, refused if ambiguous."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from flaxner.data.readers.column_kinds import CHUNKED, ENTITIES, OUTSIDE_ONLY, kind_of, some
from flaxner.data.readers.source import BadCorpus
from flaxner.data.tags import parse_tag

# 3; a contraction 3-4 and an empty node 5.1 of CoNLL-U; a sentence and its word, 2-7.
_NUMBER = re.compile(r"\d+(?:[-.]\d+)?", re.ASCII)
# -1.5e-3, 0,82, 0:4: scores and character positions next to the words.
_FIGURE = re.compile(r"[-+]?\d+(?:[-.,:/]\d+)*(?:[eE][-+]?\d+)?%?", re.ASCII)
_DIGITS = re.compile(r"\d+")
ENOUGH = 200  # rows after which a column without repeated values does not hold words
FEW = 10  # distinct values that a column needs before their number is evidence
SHARE = 3  # another column with this many times more distinct values could hold the words


class Row(NamedTuple):
    """A row of a column file.

    Attributes:
      line: its line.
      sentence: number of its sentence.
      fields: its columns.
    """

    line: int
    sentence: int
    fields: Sequence[str]


class First(NamedTuple):
    """What the first column is.

    Attributes:
      counts: it numbers the words (within each sentence, or throughout), as in CoNLL-U.
      numbers: it holds numbers of any kind, so it does not hold the words.
    """

    counts: bool
    numbers: bool


def first_column(rows: Sequence[Row]) -> First:
    """Judge whether the first column can hold the words; numbers next to other columns cannot.

    A single row that breaks the numbering does not matter here: it is reported when it is read.

    Args:
      rows: the first rows, without those that have an unusual number of columns.
    """
    numbers, plain, steps = 0, 0, 0
    previous, before = 0, 0  # number, and sentence, of the row before; sentences count from 1
    for row in rows:
        field = row.fields[0]
        numbers += _NUMBER.fullmatch(field) is not None
        if not field.isascii() or not field.isdecimal() or len(field) > 9:
            continue
        plain += 1
        steps += int(field) == previous + 1 or (row.sentence != before and int(field) in (0, 1))
        previous, before = int(field), row.sentence
    counts = 3 * numbers >= 2 * len(rows) and 2 * steps >= max(plain, 1)
    several = len(rows[0].fields) > 2
    return First(several and counts, several and (counts or 10 * numbers >= 9 * len(rows)))


def require_words(path: Path, rows: Sequence[Row], word: int, numbers: bool) -> None:
    """Refuse a word column that looks like something else, if another column could be the words.

    Suspicious are a column of numbers or tags, one that is constant within each sentence (the name
    of a document), and one with far fewer distinct values than another (parts of speech).

    Args:
      path: for messages.
      rows: as for `first_column`.
      word: the column that would be read.
      numbers: whether the first column holds numbers, but not word numbers: amounts can be words.

    Raises:
      ValueError: the word column is ambiguous; --word-column must choose.
    """
    columns = list(zip(*(row.fields for row in rows), strict=True))
    sentences = [row.sentence for row in rows]
    different = {c: len(set(values)) for c, values in enumerate(columns)}
    few = different[word]

    def rivals(column: int) -> bool:
        if numbers and column == 0:
            return _may_be_amounts(columns[0], few)
        return column != word and _may_be_words(columns[column], column, few)

    others = [column for column in different if rivals(column)]
    if not others:
        return
    most = max(others, key=lambda c: (different[c], -c))
    fewer = different[most] >= FEW and SHARE * different[word] <= different[most]
    constant = _is_constant(columns[word], sentences)
    constant = constant and not _is_constant(columns[most], sentences)
    if not (fewer or constant or _no_words(columns[word])):
        return
    held = [f"column {c} holds {some(map(repr, dict.fromkeys(columns[c])))}" for c in (word, most)]
    flags = f"--word-column {word} or --word-column {most}"
    message = f"several columns could be the words: {' and '.join(held)}; choose {flags}"
    raise BadCorpus(path, 1, message)


def _no_words(values: Sequence[str], number: re.Pattern[str] = _NUMBER) -> bool:
    """Whether nearly all values are numbers, or all of them tags."""
    numbers = sum(number.fullmatch(value) is not None for value in values)
    return 10 * numbers >= 9 * len(values) or all(parse_tag(value) is not None for value in values)


def _may_be_words(values: Sequence[str], column: int, beside: int) -> bool:
    """Whether a column could hold words, rather than figures, tags, key=value pairs or row names.

    Args:
      values: of the column.
      column: its number.
      beside: number of distinct values of the column that would be read.
    """
    if kind_of(column, Counter(values)) in (ENTITIES, CHUNKED, OUTSIDE_ONLY):
        return False
    if _no_words(values, _FIGURE) or _are_numbered(values):
        return False
    if len(set(values)) == len(values) and (len(values) >= ENOUGH or beside >= FEW):
        return False
    keyed = sum("=" in value or value == "_" for value in values)
    return 10 * keyed < 9 * len(values)


def _are_numbered(values: Sequence[str]) -> bool:
    """Whether values are names that differ only in numbers: t0, t1, s3_w17."""
    with_digits = sum(_DIGITS.search(value) is not None for value in values)
    bare = {_DIGITS.sub("", value) for value in values}
    return len(bare) <= 3 and 10 * with_digits >= 9 * len(values)


def _may_be_amounts(values: Sequence[str], beside: int) -> bool:
    """Whether numbers in the first column could be the words, rather than row numbers."""
    plain = [int(value) for value in values if value.isascii() and value.isdecimal()]
    rising = len(plain) == len(values) and all(a < b for a, b in itertools.pairwise(plain))
    return not rising or 8 * beside <= min(len(values), 2 * ENOUGH)


def _is_constant(values: Sequence[str], sentences: Sequence[int]) -> bool:
    """Whether a column is constant within nearly every sentence (of at least two)."""
    pairs = zip(sentences, values, strict=True)
    parts = [list(part) for _, part in itertools.groupby(pairs, key=lambda pair: pair[0])]
    same = [len(set(part)) == 1 for part in parts if len(part) > 1]
    return len(same) > 1 and 10 * sum(same) >= 9 * len(same)
