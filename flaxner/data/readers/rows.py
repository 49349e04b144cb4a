"""Read tables (from CSV, Parquet or JSON) with one word per row and a sentence-number column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxner.data.readers.source import (
    EMPTIED,
    EMPTY_WORD,
    BadCorpus,
    Notes,
    Raw,
    ReadOptions,
    document_name,
    excerpt,
)
from flaxner.data.readers.table_columns import OF_DOCUMENTS, NumberedRows, columns_of
from flaxner.data.readers.tag_column import Choice
from flaxner.data.readers.values import described, tag_value
from flaxner.data.tags import OUTSIDE


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
    word_at, tag_at, sentence_at, document_at, unread, choice, names = columns_of(
        source, header, rows, options, notes, tag_names or {}
    )
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
        if type(word) is str and " " in (word[:1], word[-1:]):
            word = word.strip(" ") or word
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
    names: Sequence[str] | None,
    notes: Notes,
) -> tuple[str, str]:
    """Return the word and tag of a row, given the name and content of both cells."""
    word_column, word, tag_column, cell = cells
    if not isinstance(word, str):
        raise BadCorpus(source, line, f"{word_column!r} must be a word: got {described(word)}")
    value = tag_value(source, line, tag_column, cell, names)
    tag = choice.tag(value)
    if tag is None:
        raise BadCorpus(source, line, choice.fault(value))
    if word:
        return word, tag
    if tag != OUTSIDE:
        raise BadCorpus(source, line, f"a word tagged {excerpt(value)} must not be empty")
    notes.count(EMPTIED, f"line {line}")
    return EMPTY_WORD, tag
