"""Read CSV and TSV with one text per row and its spans as JSON in a cell (Label Studio's CSV)."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flaxner.data.readers.records import read_records
from flaxner.data.readers.rows import require_width
from flaxner.data.readers.source import (
    RECORD_LIMIT,
    BadCorpus,
    Notes,
    Raw,
    ReadOptions,
    read_lines,
)
from flaxner.data.readers.spanned import SPAN_COLUMNS, TEXT_COLUMNS

DELIMITERS = "\t,;"
ROWS = 100  # number of rows to look at
OF_LABEL_STUDIO = {"annotation_id", "annotator", "lead_time"}


def detect(path: Path, head: str) -> bool:
    """Whether the header is Label Studio's, or names a text and spans that hold lists."""
    head = head.removeprefix("\ufeff")
    for delimiter in DELIMITERS:
        names = _cells(head.split("\n", 1)[0].rstrip("\r"), delimiter)
        if set(names) >= OF_LABEL_STUDIO:
            return True
        if set(names) & set(TEXT_COLUMNS) and any(
            name in SPAN_COLUMNS and _holds_lists(head, delimiter, at)
            for at, name in enumerate(names)
        ):
            return True
    return False


def _holds_lists(head: str, delimiter: str, at: int) -> bool:
    """Whether the non-empty cells of a column are lists, in the first rows."""
    cells: list[str] = []
    try:
        rows = csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
        cells += (row[at].strip() for row in itertools.islice(rows, 1, ROWS) if len(row) > at)
    except csv.Error:  # the head ends within a row
        pass
    lists = [cell[:1] == "[" for cell in cells if cell]
    return bool(lists) and all(lists)


def _cells(line: str, delimiter: str) -> list[str]:
    return [name.strip().strip('"').lower() for name in line.split(delimiter)]


def read(path: Path, options: ReadOptions, notes: Notes) -> Iterator[Raw]:
    """Yield the sentences of a table of texts.

    Raises:
      ValueError: invalid CSV, or a row that is not an annotated text; the message has the line.
    """
    return read_records(path, lambda: _records(path), options, notes)


def _records(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the rows as records; a cell with a JSON list becomes that list, an empty one null."""
    rows = _rows(path)
    line, header = next(rows)
    for name, count in Counter(filter(None, header)).items():
        if count > 1:
            message = f"the header has {count} columns named {name!r}; rename all but one"
            raise BadCorpus(path, line, message)
    for line, row in rows:
        require_width(path, line, row, header)
        yield line, {name: _value(cell) for name, cell in zip(header, row, strict=True)}


def _value(cell: str) -> Any:
    if not cell:
        return None
    if cell.startswith("[") and cell.endswith("]"):
        try:
            value = json.loads(cell)
        except (ValueError, RecursionError):
            return cell
        if isinstance(value, list) and all(isinstance(item, dict | list) for item in value):
            return value
    return cell


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the header and the rows with their line numbers; line breaks in cells are kept."""
    blocks = read_lines(path, RECORD_LIMIT, joined=False)
    lines = ((n, line) for start, block in blocks for n, line in enumerate(block, start))
    begun, first = next(((n, line) for n, line in lines if line.strip()), (1, ""))
    delimiter = max(DELIMITERS, key=lambda d: len(_cells(first, d)))
    last = [begun]

    def ended() -> Iterator[str]:
        yield first + "\n"
        for last[0], line in lines:
            yield line + "\n"

    csv.field_size_limit(RECORD_LIMIT)  # global to the process; the default is 128 KiB
    try:
        for row in csv.reader(ended(), delimiter=delimiter, strict=True):
            if row:
                yield begun, row
            begun = last[0] + 1
    except csv.Error as error:
        raise BadCorpus(path, begun, f"invalid CSV: {error}") from None
