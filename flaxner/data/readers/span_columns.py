"""Which column of records holds the spans: shown by all records, said, and asked for in doubt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxner.data.readers.column_kinds import (
    CHUNKED,
    ENTITIES,
    OUTSIDE_ONLY,
    SEGMENTS,
    Tally,
    kind_of,
)
from flaxner.data.readers.source import BadCorpus, Notes, ReadOptions
from flaxner.data.readers.spanned import (
    ENDS,
    KINDS,
    SPAN_COLUMNS,
    STARTS,
    TEXT_COLUMNS,
    Record,
    read_regions,
    whole_number,
)
from flaxner.data.readers.tag_column import Choice


def choose_spans(
    source: Path | str,
    records: Iterable[tuple[int, Record]],
    options: ReadOptions,
    notes: Notes,
) -> Sequence[str]:
    """The names of `SPAN_COLUMNS`, those that hold spans in any of the records first.

    Raises:
      ValueError: two columns of a record hold spans, and not the same; --spans-column is asked for.
    """
    if options.spans_column is not None:
        return SPAN_COLUMNS
    written: dict[str, str] = {}  # lower-case name -> as in the file
    filled: set[str] = set()
    beside: dict[tuple[str, str], int] = {}  # two that a record has, and that differ -> its line
    for line, record in records:
        found = span_values(record)
        for name in found:
            written.setdefault(name.lower(), name)
        own = {name.lower(): value for name, value in found.items()}
        filled.update(name for name, value in own.items() if _is_filled(value))
        names = [name for name in SPAN_COLUMNS if name in own]
        for i, one in enumerate(names):
            for two in names[i + 1 :]:
                if _places(own[one]) != _places(own[two]):
                    beside.setdefault((one, two), line)
    for (one, two), line in beside.items():
        if {one, two} <= filled:
            first, second = written[one], written[two]
            message = f"the columns {first!r} and {second!r} both hold spans, and not the same"
            flags = f"say --spans-column {first} or --spans-column {second}"
            raise BadCorpus(source, line, f"{message}: {flags}")
        full, empty = (one, two) if one in filled else (two, one)
        if full in filled:
            why = f"the spans are those of {written[full]!r}; {written[empty]!r} holds none"
            notes.choices.append(why)
    return sorted(SPAN_COLUMNS, key=lambda name: name not in filled)


def span_values(record: Record, options: ReadOptions | None = None) -> dict[str, Any]:
    """The columns of a record that may be its spans, in its order: lists of spans, empty or not.

    Args:
      record: names and values.
      options: the column that the user names, if any, instead of those of usual names.
    """
    wanted = options.spans_column if options is not None else None
    return {
        name: value
        for name, value in record.items()
        if (name == wanted if wanted is not None else str(name).lower() in SPAN_COLUMNS)
        and _is_spans(value)
    }


def spans_beside(record: Record, options: ReadOptions) -> str | None:
    """The column of spans of a record with a text; None: it has none, or no text."""
    if options.text_column is not None:
        text = record.get(options.text_column)
    else:
        names = {str(name).lower(): name for name in reversed(list(record))}
        text = next((record[names[name]] for name in TEXT_COLUMNS if name in names), None)
    found = span_values(record, options) if isinstance(text, str) else {}
    return next(iter(sorted(found, key=lambda name: not _is_filled(found[name]))), None)


def filled_spans(record: Record, options: ReadOptions) -> str | None:
    """As `spans_beside`; None also where they are empty."""
    column = spans_beside(record, options)
    return column if column is not None and _is_filled(record[column]) else None


def says_spans(record: Record, options: ReadOptions) -> bool:
    """Whether the user asks for the text and the spans of a record that may have tags as well."""
    asked = options.text_column is not None or options.spans_column is not None
    return asked and options.tag_column is None and spans_beside(record, options) is not None


def beside_tags(
    source: Path | str, choice: Choice, tally: Tally, spans: Mapping[str, int]
) -> Choice:
    """The column of tags that was chosen, with what is said about spans in the same records.

    Args:
      source: for messages.
      choice: the column of the tags.
      tally: of the columns that might hold tags.
      spans: columns of spans -> the first line with some.

    Raises:
      ValueError: the tags are no entities, so that the spans may be what is meant.
    """
    for column, line in spans.items():
        counts = tally.counts.get(choice.column or "")
        kind = kind_of(choice.column or "", counts) if counts else ENTITIES
        if kind in (OUTSIDE_ONLY, CHUNKED, SEGMENTS):
            message = f"{column!r} holds spans, and {choice.column!r} holds {kind}"
            flags = f"say --spans-column {column} or --tag-column {choice.column}"
            raise BadCorpus(source, line, f"{message}: {flags}")
        why = f"{choice.why}; the spans in {column!r} are not read (--spans-column reads them)"
        choice = choice._replace(why=why)
    return choice


def _is_spans(value: Any) -> bool:
    """Whether a value is a list of spans, or a struct of lists of their parts; it may be empty."""
    if isinstance(value, dict):
        return bool(set(STARTS) & value.keys()) and all(isinstance(v, list) for v in value.values())
    return isinstance(value, list) and all(map(_is_span, value))


def _is_span(item: Any) -> bool:
    if isinstance(item, dict):
        return all(set(names) & item.keys() for names in (STARTS, ENDS, KINDS))
    of_three = isinstance(item, list | tuple) and len(item) == 3
    return of_three and None not in (whole_number(item[0]), whole_number(item[1]))


def _places(value: Any) -> Any:
    """Spans without what else a tool says of them, whatever their notation; else the value."""
    try:
        regions = read_regions("", 0, "", value)
    except BadCorpus:
        return value
    return {(region.start, region.end, region.kind) for region in regions}


def _is_filled(value: Any) -> bool:
    return any(value.values()) if isinstance(value, dict) else bool(value)
