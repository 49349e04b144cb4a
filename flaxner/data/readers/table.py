"""CSV and TSV with a header: a word a row, a column that numbers the sentences."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flaxner.data.readers.records import TAG_COLUMNS, WORD_COLUMNS
from flaxner.data.readers.source import BadCorpus, Notes, Raw, ReadOptions, excerpt, read_lines
from flaxner.data.tags import parse_tag, tag_fault

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
DELIMITERS = "\t,;|"


def detect(path: Path, head: str) -> bool:
    """Whether the first line names a column of words and one of tags."""
    return _delimiter(head.split("\n", 1)[0].strip("\r\ufeff")) is not None


def _delimiter(line: str) -> str | None:
    for delimiter in DELIMITERS:
        names = [name.strip().strip('"').lower() for name in line.split(delimiter)]
        if set(names) & set(WORD_COLUMNS) and set(names) & set(TAG_COLUMNS):
            return delimiter
    return None


def read(path: Path, options: ReadOptions, notes: Notes) -> Iterator[Raw]:
    """The sentences of a table.

    Raises:
      ValueError: a row with another number of columns than the header, a column that is not
        there, a tag that is no tag.
    """
    rows = _rows(path)
    _, header = next(rows)
    word_at = _column(path, header, options.word_column, WORD_COLUMNS, "words")
    tag_at = _column(path, header, options.tag_column, TAG_COLUMNS, "tags")
    wanted = options.sentence_column
    known = {name.strip().lower() for name in header}
    sentence_at = None
    if wanted is not None or known & set(SENTENCE_COLUMNS):
        sentence_at = _column(path, header, wanted, SENTENCE_COLUMNS, "sentences")
    words: list[str] = []
    tags: list[str] = []
    begun, current, blank = 2, None, False
    for number, row in rows:
        key = row[sentence_at] if row and sentence_at is not None else None
        # A cell left empty goes on with the sentence above.
        if words and (not row or (key is not None and key.strip() and key != current)):
            yield Raw(tuple(words), tuple(tags), None, begun)
            words, tags = [], []
        if not row:
            blank = True
            continue
        if len(row) != len(header):
            few = "few" if len(row) < len(header) else "many"
            message = f"too {few} columns: {len(row)}, where the header has {len(header)}"
            raise BadCorpus(path, number, message)
        word, tag = row[word_at], row[tag_at].strip()
        if parse_tag(tag) is None or not word:
            wrong = f"{tag_fault(tag)}: got {excerpt(tag)}"
            what = "a word must not be empty" if not word else wrong
            raise BadCorpus(path, number, what)
        if not words:
            begun, current = number, key
        words.append(word)
        tags.append(tag)
    if words:
        if sentence_at is None and not blank:
            names = excerpt(", ".join(header), 200)
            message = f"nothing divides the sentences; --sentence-column names one of {names}"
            raise BadCorpus(path, 1, message)
        yield Raw(tuple(words), tuple(tags), None, begun)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Header and rows with their line; the delimiter is that of the header."""
    lines = ((n, line) for start, block in read_lines(path) for n, line in enumerate(block, start))
    first = next(lines, (1, ""))[1]
    delimiter = _delimiter(first.strip("\r")) or max(DELIMITERS, key=first.count)
    count = [1]

    def numbered() -> Iterator[str]:
        yield first + "\n"
        for n, line in lines:
            count[0] = n
            yield line.rstrip("\r") + "\n"

    # In TSV a quotation mark is a word like any other, unless the header is quoted.
    quoting: Any = csv.QUOTE_NONE if delimiter == "\t" and '"' not in first else csv.QUOTE_MINIMAL
    reader = csv.reader(numbered(), delimiter=delimiter, quoting=quoting, strict=True)
    begun = 1
    try:
        for row in reader:
            yield begun, [] if not any(cell.strip() for cell in row) else row
            begun = count[0] + 1
    except csv.Error as error:
        raise BadCorpus(path, begun, f"no CSV: {error}") from None


def _column(
    path: Path, header: list[str], wanted: str | None, known: tuple[str, ...], what: str
) -> int:
    names = [name.strip() for name in header]
    if wanted is not None:
        if wanted in names:
            return names.index(wanted)
        if wanted.lstrip("-").isdecimal() and -len(names) <= int(wanted) < len(names):
            return int(wanted)
    else:
        lower = [name.lower() for name in names]
        for name in known:
            if name in lower:
                return lower.index(name)
    need = f"no column {wanted!r}" if wanted is not None else f"no column for the {what}"
    raise BadCorpus(path, 1, f"{need}; the header has {excerpt(', '.join(names), 200)}")
