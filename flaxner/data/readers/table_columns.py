"""Which columns of a table with one word per row hold the words, tags, sentences and documents."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flaxner.data.readers.column_kinds import Tally
from flaxner.data.readers.source import (
    DOCUMENT_COLUMNS,
    BadCorpus,
    Guessed,
    Notes,
    ReadOptions,
    excerpt,
)
from flaxner.data.readers.tag_column import (
    TAG_COLUMNS,
    WORD_COLUMNS,
    Choice,
    choose,
    given,
    named,
)
from flaxner.data.readers.values import as_tags, bare_note, named_ids, trimmed

SENTENCE_COLUMNS = (
    "sentence #",
    "sentence_id",
    "sentence_idx",
    "sentence id",
    "sent_id",
    "sentence",
    "sentence_number",
    "sid",
)

# In a table of words these also identify the document; elsewhere they may hold its text.
OF_DOCUMENTS = (*DOCUMENT_COLUMNS, "doc", "document")
BLOCK = 500  # rows to count at once: dropped before the garbage collector would look at them

NumberedRows = Callable[[], Iterable[tuple[int, Sequence[Any]]]]


class Columns(NamedTuple):
    """The columns of a table, by number.

    Attributes:
      word: that of the words.
      tag: that of the tags.
      sentence: that of the sentence numbers, if any.
      document: that of the documents' names, if any.
      unread: other columns with a name that a column of words may have.
      choice: how the tags are read.
      names: the tags of the ids in the tag column, if the file has them.
    """

    word: int
    tag: int
    sentence: int | None
    document: int | None
    unread: list[int]
    choice: Choice
    names: Sequence[str] | None


def columns_of(
    source: Path | str,
    header: Sequence[str],
    rows: NumberedRows,
    options: ReadOptions,
    notes: Notes,
    tag_names: Mapping[str, Sequence[str]],
) -> Columns:
    """Choose the columns of a table by the options, their names, and all of their values.

    Args:
      source: for messages.
      header: names of the columns.
      rows: returns a new iterator over the rows, (line, cells).
      options: names of columns.
      notes: collects what was chosen.
      tag_names: names for the ids of each column for which the file has them.

    Raises:
      ValueError: a column is missing, or two have the same name.
    """
    word = _column(source, header, options.word_column, WORD_COLUMNS, "words")
    unread = [
        at
        for at, name in enumerate(header)
        if options.word_column is None and name.strip().lower() in WORD_COLUMNS and at != word
    ]
    sentence = _sentence_column(source, header, options)
    document = _document_column(source, header, notes)
    names = {key: as_tags(table) for key, table in tag_names.items()}
    others = (word, sentence, document)
    tag, choice = _tag_column(source, header, rows, others, options, names)
    notes.guessed = Guessed(
        frozenset(header),
        header[tag] if options.tag_column is None else None,
        header[word] if options.word_column is None else None,
    )
    notes.choices += [choice.why, *bare_note(header[tag], tag_names)]
    return Columns(word, tag, sentence, document, unread, choice, names.get(header[tag]))


def _document_column(source: Path | str, header: Sequence[str], notes: Notes) -> int | None:
    """Return the column that identifies the document, if it has one of the usual names."""
    lower = [name.strip().lower() for name in header]
    name = next((name for name in OF_DOCUMENTS if name in lower), None)
    if name is None:
        return None
    if name not in DOCUMENT_COLUMNS:
        notes.choices.append(f"documents are read from {name!r}")
    return _once(source, lower, lower.index(name))


def _once(source: Path | str, names: Sequence[str], at: int) -> int:
    """Return a column that was found by name, after checking that the name is unique.

    Raises:
      ValueError: another column has the same name.
    """
    if names.count(names[at]) > 1:
        message = f"the header has {names.count(names[at])} columns named {names[at]!r}"
        raise BadCorpus(source, 1, f"{message}; give the column's number instead, from 0")
    return at


def _sentence_column(source: Path | str, header: Sequence[str], options: ReadOptions) -> int | None:
    known = {name.strip().lower() for name in header}
    if options.sentence_column is None and not known & set(SENTENCE_COLUMNS):
        return None
    return _column(source, header, options.sentence_column, SENTENCE_COLUMNS, "sentences")


def _tag_column(
    source: Path | str,
    header: Sequence[str],
    rows: NumberedRows,
    others: tuple[int | None, ...],
    options: ReadOptions,
    names: Mapping[str, Sequence[str]],
) -> tuple[int, Choice]:
    """Choose the tag column by all rows, or by name if no row shows it."""
    tally = Tally()
    columns: dict[str, int] = {}
    for at, name in enumerate(header):
        if at not in others:
            columns.setdefault(name, at)
    _count(tally, columns, rows, names)
    if options.tag_column is not None:
        at = _column(source, header, options.tag_column, (), "tags")
        if columns.get(header[at], at) != at:  # two columns share the name: a number was given
            tally, columns = Tally(), {header[at]: at}
            _count(tally, columns, rows, names)
        return at, given(source, header[at], tally, options.scheme)
    choice = choose(source, tally, options.scheme)
    if choice.column is not None:
        return _once(source, header, columns[str(choice.column)]), choice
    at = _column(source, header, None, TAG_COLUMNS, "tags")
    return at, named(header[at])


def _count(
    tally: Tally,
    columns: Mapping[str, int],
    rows: NumberedRows,
    names: Mapping[str, Sequence[str]],
) -> None:
    last = max(columns.values(), default=0)
    whole = (row for _, row in rows() if len(row) > last)
    while block := list(itertools.islice(whole, BLOCK)):
        for name, at in columns.items():
            cells = [row[at] for row in block]
            if name in names:
                cells = named_ids(cells, names[name])
            if any(type(cell) is int for cell in cells):
                tally.ids.add(name)
            else:
                tally.add(name, [trimmed(cell) for cell in cells if isinstance(cell, str)])


def _column(
    source: Path | str,
    header: Sequence[str],
    wanted: str | None,
    known: Sequence[str],
    what: str,
) -> int:
    names = [name.strip() for name in header]
    if wanted is not None:
        if wanted in names:
            return _once(source, names, names.index(wanted))
        if wanted.lstrip("-").isdecimal() and -len(names) <= int(wanted) < len(names):
            return int(wanted) % len(names)
    else:
        lower = [name.lower() for name in names]
        for name in known:
            if name in lower:
                return _once(source, lower, lower.index(name))
    need = f"no column {wanted!r}" if wanted is not None else f"no column for the {what}"
    raise BadCorpus(source, 1, f"{need}; the header has {excerpt(', '.join(names), 200)}")
