"""Read tables (from CSV, Parquet or JSON) with one word per row and a sentence-number column."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxner.data.readers.column_kinds import Tally
from flaxner.data.readers.source import (
    DOCUMENT_COLUMNS,
    EMPTIED,
    EMPTY_WORD,
    BadCorpus,
    Guessed,
    Notes,
    Raw,
    ReadOptions,
    document_name,
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
from flaxner.data.readers.values import as_tags, bare_note, described, named_ids, tag_value
from flaxner.data.tags import OUTSIDE

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


def read_rows(
    source: Path | str,
    header: Sequence[str],
    rows: NumberedRows,
    options: ReadOptions,
    notes: Notes,
    tag_names: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Raw]:
    """Turn rows of one word each into sentences.

    Args:
      source: for messages.
      header: names of the columns.
      rows: returns a new iterator over the rows, (line, cells); no cells stand for a blank line.
      options: names of columns.
      notes: collects what was chosen and left out.
      tag_names: names for the ids of each column for which the file has them.

    Raises:
      ValueError: a row has the wrong number of cells, a column is missing, a tag is invalid, or
        nothing separates the sentences.
    """
    word_at = _column(source, header, options.word_column, WORD_COLUMNS, "words")
    unread = [
        at
        for at, name in enumerate(header)
        if options.word_column is None and name.strip().lower() in WORD_COLUMNS and at != word_at
    ]
    sentence_at = _sentence_column(source, header, options)
    names = {key: as_tags(table) for key, table in (tag_names or {}).items()}
    document_at = _document_column(source, header, notes)
    others = (word_at, sentence_at, document_at)
    tag_at, choice = _tag_column(source, header, rows, others, options, names)
    notes.guessed = Guessed(
        frozenset(header),
        header[tag_at] if options.tag_column is None else None,
        header[word_at] if options.word_column is None else None,
    )
    notes.choices += [choice.why, *bare_note(header[tag_at], tag_names or {})]
    words: list[str] = []
    tags: list[str] = []
    begun, current = 1, None
    seen, blank, divided = False, False, False  # a word; then a blank row; then a word
    document: int | str | None = None
    meaning: dict[str, str] = {}
    closed: set[str] = set()  # numbers of sentences that have ended
    again = repeated = missing = first_missing = 0
    for line, row in rows():
        if row:
            require_width(source, line, row, header)
        key = _key(row[sentence_at]) if row and sentence_at is not None else ""
        own = document_name(row[document_at]) if row and document_at is not None else None
        # An empty cell continues the sentence or the document above.
        other = own is not None and own != document
        if words and (not row or (key and key != current) or other):
            yield Raw(tuple(words), tuple(tags), document, begun)
            words, tags = [], []
        document = own if other else document
        if not row:
            blank = seen
            continue
        seen, blank, divided = True, False, divided or blank
        for at in unread:
            if row[at] != row[word_at]:
                notes.passed_over("words", header[word_at], header[at], "--word-column")
        word, cell = row[word_at], row[tag_at]
        tag = meaning.get(cell) if type(word) is type(cell) is str and word else None
        if tag is None:
            cells = header[word_at], word, header[tag_at], cell
            word, tag = _pair(source, line, cells, choice, names, notes)
            if isinstance(cell, str):
                meaning[cell] = tag
        if not words:
            begun, current = line, key
            again += key in closed
            closed |= {key} - {""}
        elif sentence_at is not None:
            repeated += bool(key)
            if not key:
                missing, first_missing = missing + 1, first_missing or line
        words.append(word)
        tags.append(tag)
    if seen and sentence_at is None and not divided:
        rest = [name for at, name in enumerate(header) if at not in (word_at, tag_at)]
        how = "number them in a column such as sentence_id"
        if rest:
            how = f"set --sentence-column to one of {excerpt(', '.join(rest), 200)}"
        message = f"nothing separates the sentences; {how}"
        raise BadCorpus(source, 1, message)
    if words:
        yield Raw(tuple(words), tuple(tags), document, begun)
    if repeated and missing and sentence_at is not None:
        notes.choices.append(
            f"numbers in {header[sentence_at]!r} are missing ({missing} times, first on line "
            f"{first_missing}), although others are repeated from word to word: these rows "
            "continue the sentence above"
        )
    if again and sentence_at is not None and document_at is None:
        notes.choices.append(
            f"numbers in {header[sentence_at]!r} recur after other sentences ({again} times), and "
            f"no column ({', '.join(OF_DOCUMENTS)}) identifies documents: consecutive rows with "
            "the same number are one sentence"
        )


def require_width(source: Path | str, line: int, row: Sequence[Any], header: Sequence[str]) -> None:
    """Refuse a row with fewer or more cells than the header has.

    Raises:
      ValueError: the row has another number of cells.
    """
    if len(row) != len(header):
        few = "few" if len(row) < len(header) else "many"
        message = f"too {few} columns: got {len(row)}, but the header has {len(header)}"
        raise BadCorpus(source, line, message)


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
                tally.add(name, [cell.strip() for cell in cells if isinstance(cell, str)])


def _key(cell: Any) -> str:
    """Return the sentence number of a row; empty for an empty cell or pandas' NaN.

    pandas writes whole numbers as 1.0 once the column has an empty cell.
    """
    if isinstance(cell, str) and cell.isdecimal():
        return cell
    key = "" if cell is None or cell != cell else str(cell).strip()
    number = key.removesuffix(".0")
    return number if number.isdecimal() else key


def _pair(
    source: Path | str,
    line: int,
    cells: tuple[str, Any, str, Any],
    choice: Choice,
    names: Mapping[str, Sequence[str]],
    notes: Notes,
) -> tuple[str, str]:
    """Return the word and tag of a row, given the name and content of both cells."""
    word_column, word, tag_column, cell = cells
    if not isinstance(word, str):
        raise BadCorpus(source, line, f"{word_column!r} must be a word: got {described(word)}")
    value = tag_value(source, line, tag_column, cell, names.get(tag_column))
    tag = choice.tag(value)
    if tag is None:
        raise BadCorpus(source, line, choice.fault(value))
    if word:
        return word, tag
    if tag != OUTSIDE:
        raise BadCorpus(source, line, f"a word tagged {excerpt(value)} must not be empty")
    notes.count(EMPTIED, f"line {line}")
    return EMPTY_WORD, tag


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
