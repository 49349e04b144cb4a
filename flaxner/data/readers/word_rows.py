"""Read records of one word and its tag each: rows of a table, in JSON or a data set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from flaxner.data.readers.source import BadCorpus, ReadOptions
from flaxner.data.readers.spanned import has_text_and_spans
from flaxner.data.readers.tag_column import TAG_COLUMNS, WORD_COLUMNS
from flaxner.data.readers.values import described


def header_of_words(first: Any, options: ReadOptions) -> list[str] | None:
    """Return the columns, if the first record is a word and its tag."""
    if not isinstance(first, dict):
        return None
    words, tags = (
        [name for name in first if name == wanted or (not wanted and name.lower() in known)]
        for wanted, known in (
            (options.word_column, WORD_COLUMNS),
            (options.tag_column, TAG_COLUMNS),
        )
    )
    has_word = any(isinstance(first[name], str) for name in words)
    # A column that holds a tag does not hold spans, whatever its name.
    single = {name for name in tags if isinstance(first[name], str | int)}
    rest = {n: v for n, v in first.items() if n not in single or n == options.spans_column}
    return list(first) if has_word and single and not has_text_and_spans(rest, options) else None


def as_rows(
    source: Path | str, records: Iterable[tuple[int, Any]], header: Sequence[str]
) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yield the cells of each record, in the order of the header.

    Raises:
      ValueError: a record is not an object.
    """
    for line, record in records:
        if not isinstance(record, dict):
            message = f"a record must be an object: got {described(record)}"
            raise BadCorpus(source, line, message)
        yield line, [record.get(name) for name in header]
