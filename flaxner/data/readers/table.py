"""Read CSV and TSV with a header, one word per row and a column that numbers the sentences."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flaxner.data.readers.quoting import QUOTED, quoted_as_csv
from flaxner.data.readers.rows import read_rows
from flaxner.data.readers.source import BadCorpus, Notes, Raw, ReadOptions, excerpt, read_lines
from flaxner.data.readers.tag_column import TAG_COLUMNS, WORD_COLUMNS
from flaxner.data.tags import parse_tag

DELIMITERS = "\t,;|"


def detect(path: Path, head: str) -> bool:
    """Whether the first line names a word column and a tag column."""
    return _delimiter(head.split("\n", 1)[0].strip("\r\ufeff")) is not None


def _delimiter(line: str) -> str | None:
    for delimiter in DELIMITERS:
        names = [name.strip().strip('"').lower() for name in line.split(delimiter)]
        if set(names) & set(WORD_COLUMNS) and set(names) & set(TAG_COLUMNS):
            return delimiter
    return None


def read(path: Path, options: ReadOptions, notes: Notes) -> Iterator[Raw]:
    """Yield the sentences of a table.

    Raises:
      ValueError: see `read_rows`; invalid CSV.
    """
    quoted = quoted_as_csv(path)
    _, header = next(_rows(path, quoted))
    names = [name.strip() for name in header]
    if quoted:
        notes.choices.append(QUOTED)
    return read_rows(
        path, names, lambda: itertools.islice(_rows(path, quoted), 1, None), options, notes
    )


def _require_closed(
    path: Path, line: int, row: list[str], delimiter: str, tags: Sequence[int]
) -> None:
    """Refuse a cell that has swallowed other rows, as happens after a stray quotation mark.

    Such a cell completes its row, or contains a whole one, with a tag in a tag column. A cell with
    an intended line break does not: a spaCy word that is a line break, or a comment with as many
    commas.

    Args:
      path, line: for messages.
      row: its cells.
      delimiter: between cells.
      tags: columns with the usual names of tag columns; empty if unknown.
    """

    def is_row(cells: Sequence[str]) -> bool:
        tagged = any(parse_tag(cells[at].strip()) is not None for at in tags if at < len(cells))
        return len(cells) == len(row) and (tagged or not tags)

    for at, cell in enumerate(row):
        begun, *rest = cell.split("\n")
        ends = at + 1 < len(row) and is_row([*row[:at], *begun.split(delimiter)])
        if rest and (ends or any(is_row(more.split(delimiter)) for more in rest)):
            what = "a cell contains other rows (an unclosed quotation mark?)"
            raise BadCorpus(path, line, f"{what}: {excerpt(cell)}")


def _rows(path: Path, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield the header and the rows with their line numbers; the header sets the delimiter."""
    blocks = read_lines(path, joined=False)
    lines = itertools.chain.from_iterable(block for _, block in blocks)
    numbered = enumerate(lines, 1)
    begun, first = next(((n, line) for n, line in numbered if line.strip()), (1, ""))
    before = begun - 1
    delimiter = _delimiter(first.strip("\r")) or max(DELIMITERS, key=first.count)
    whole = (line.rstrip("\r") + "\n" for line in itertools.chain([first], lines))
    names = first.split(delimiter)
    spaced = all(name[:1] == " " for name in names[1:])
    padded = spaced and all(name[-1:] == " " for name in names[:-1])  # such as sid | word | tag
    # In TSV a quotation mark is an ordinary word, unless the header or every field with one is
    # quoted. The same goes for padded tables.
    plain = (delimiter == "\t" or padded) and '"' not in first and not quoted
    quoting: Any = csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL
    reader = csv.reader(
        whole, delimiter=delimiter, quoting=quoting, strict=True, skipinitialspace=spaced
    )
    tags: list[int] | None = None
    try:
        for row in reader:
            if tags is None:
                tags = [at for at, name in enumerate(row) if name.strip().lower() in TAG_COLUMNS]
            if padded:
                row = [cell.strip(" ") for cell in row]
            ended = before + reader.line_num
            if ended > begun:
                _require_closed(path, begun, row, delimiter, tags)
            yield begun, row if "".join(row).strip() else []
            begun = ended + 1
    except csv.Error as error:
        raise BadCorpus(path, begun, f"invalid CSV: {error}") from None
