"""Column files that look like something else: refused, or the doubt is noted."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from flaxner.data.readers.source import BadCorpus, Notes, excerpt
from flaxner.data.readers.tag_column import WORD_COLUMNS, Choice
from flaxner.data.readers.values import trimmed
from flaxner.data.readers.word_column import Row

ENOUGH = 10  # rows needed to judge by what all of them have in common
# What is wrong with nearly all words, and how to put it right.
_MARKED = (
    (
        re.compile(r"[a-z]{2,6}(-[a-z]+)*:"),
        "begin with a language and a colon, as in WikiANN's files: remove them "
        "(sed -E 's/^[a-z-]+://')",
    ),
    (
        re.compile(r"[\u2e80-\uffff]\d\Z"),
        "are a character and a digit, as in Weibo NER's files: remove the digits "
        "(sed -E 's/^(.)[0-9]/\\1/')",
    ),
)


def require_plain_words(path: Path, rows: Sequence[Row], word: int) -> None:
    """Refuse words with something else attached to them, as in WikiANN's own files.

    Raises:
      ValueError: nearly all words have it.
    """
    for pattern, remedy in _MARKED:
        marked = sum(pattern.match(row.fields[word]) is not None for row in rows)
        if len(rows) >= ENOUGH and 10 * marked >= 9 * len(rows):
            got = excerpt(rows[0].fields[word])
            raise BadCorpus(path, rows[0].line, f"the words {remedy}: got {got}")


def require_no_header(path: Path, first: Row, word: int, tag: int, choice: Choice) -> None:
    """Refuse a first row that names the columns.

    Args:
      path: for messages.
      first: the first row.
      word, tag: the columns that are read.
      choice: how the tags are read.

    Raises:
      ValueError: the row is a header.
    """
    value = trimmed(first.fields[tag])
    is_tag = choice.types.get(value, 0) > 1 if choice.bare else choice.tag(value) is not None
    if not is_tag and first.fields[word].strip().lower() in WORD_COLUMNS:
        names = f"{excerpt(first.fields[word])} and {excerpt(first.fields[tag])}"
        message = f"the first row has the names of the columns, {names}: remove it"
        raise BadCorpus(path, first.line, message)


def note_doubts(rows: Sequence[Row], word: int, counts: bool, numbers: bool, notes: Notes) -> None:
    """Count rows whose numbers suggest that blank lines are missing; note two columns in one.

    Args:
      rows: the first rows.
      word: the column of the words.
      counts: whether the first column numbers the words.
      numbers: whether it holds numbers of any kind.
      notes: collects the doubts.
    """
    pairs = [(a, b) for a, b in itertools.pairwise(rows) if a.sentence == b.sentence]
    if counts:
        for before, row in pairs:
            first, above = ("0", "1"), before.fields[0]  # above may be a contraction, 1-2
            if row.fields[0] in first and above not in first and above.isdecimal():
                what = "rows have the first word number within a sentence: blank lines may be "
                notes.count(what + "missing", f"line {row.line}")
    elif numbers:
        changed = [row for before, row in pairs if row.fields[0] != before.fields[0]]
        if 2 * len(changed) < len(pairs):
            for row in changed:
                what = "rows have another number in column 0 than the row above: if it numbers "
                notes.count(what + "sentences, blank lines are missing", f"line {row.line}")
    if len(rows) >= ENOUGH and all(" " in row.fields[word].strip() for row in rows):
        shown = excerpt(rows[0].fields[word])
        notes.choices.append(f"every word has a space in it, as if it were two columns: {shown}")
