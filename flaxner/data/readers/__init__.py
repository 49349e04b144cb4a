"""Corpus readers, one module per family of formats, and the table that lists them.

To add a format, write a module with `read(path, options, notes) -> Iterator[Raw]` and
`detect(path, head) -> bool`, and add a row here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from flaxner.data.column_text import split
from flaxner.data.readers import arrow, columns, docbin, json_text, span_table, table
from flaxner.data.readers.foreign import refuse_foreign
from flaxner.data.readers.source import (
    OF_DATA_SETS,
    OF_FILES,
    READING,
    BadCorpus,
    Notes,
    Raw,
    ReadOptions,
    excerpt,
    read_chunks,
    refuse_utf16,
)
from flaxner.data.tags import parse_tag

HEAD = 1 << 16
JSON_SUFFIXES = {".json", ".jsonl", ".ndjson"}
BLANK_LINES = re.compile(r"\A(?:[ \t]*\r?\n)+")
LABEL_STUDIO_COLUMNS = re.compile(r"-DOCSTART- -X- O\r?\n\s*\S+ -X- _ \S+")


class Format(NamedTuple):
    """A format: a test for it, given a file's path and beginning, and its reader."""

    detect: Callable[[Path, str], bool]
    read: Callable[[Path, ReadOptions, Notes], Iterator[Raw]]


# Tried in this order; the column reader comes last and reports what it is missing.
READERS: dict[str, Format] = {
    "parquet": Format(arrow.detect, arrow.read),
    "spacy": Format(docbin.detect, docbin.read),
    "json": Format(json_text.detect, json_text.read),
    "span-table": Format(span_table.detect, span_table.read),
    "table": Format(table.detect, table.read),
    "conll": Format(columns.detect, columns.read),
}


def read_file(path: Path, options: ReadOptions, notes: Notes) -> tuple[str, Iterator[Raw]]:
    """Return the name of a file's format, and its sentences.

    Raises:
      ValueError: the file cannot be read, or the requested format is unknown.
    """
    name = options.format
    if name is not None and name not in READERS:
        raise ValueError(f"unknown format {name!r}; choose from: {', '.join(READERS)}")
    chunk = next((chunk for chunk in read_chunks(path) if chunk.strip()), b"")
    if not chunk:
        raise BadCorpus(path, 1, "the corpus is empty")
    refuse_utf16(path, chunk)
    head = chunk[:HEAD] if chunk[:HEAD].strip() else chunk.lstrip()[:HEAD]
    text = BLANK_LINES.sub("", head.decode("utf-8", "replace").removeprefix("\ufeff"))
    if "\n" not in text:
        text = text.replace("\r", "\n")
    if name is None:
        refuse_foreign(path, text)
        names = (name for name, reader in READERS.items() if reader.detect(path, text))
        name = next(names, "json" if JSON_SUFFIXES & {*path.suffixes} else "conll")
        if name == "conll":
            _require_columns(path, text.partition("\n")[0].strip())
    if name == "conll" and LABEL_STUDIO_COLUMNS.match(text):
        notes.choices.append(
            "in Label Studio's CoNLL export, tasks that nobody annotated look like sentences "
            "without entities; its JSON export distinguishes them"
        )
    return name, READERS[name].read(path, options, notes)


def _require_columns(path: Path, first: str) -> None:
    """Refuse CSV that no reader of tables has recognised, given its first line."""
    fields = split(first)
    named = ".csv" in path.suffixes
    if not any(mark in first for mark in ",;|") or not (named or len(fields) == 1):
        return
    if named and any(parse_tag(field) is not None for field in fields[1:]):
        return
    raise BadCorpus(
        path,
        1,
        "CSV needs a header, such as word,tag, and one word per row (--format table reads the "
        "columns that --word-column and --tag-column name); lists belong in JSON Lines or "
        f"Parquet: got {excerpt(first)}",
    )


__all__ = [
    "OF_DATA_SETS",
    "OF_FILES",
    "READERS",
    "READING",
    "BadCorpus",
    "Notes",
    "Raw",
    "ReadOptions",
    "excerpt",
    "read_file",
]
