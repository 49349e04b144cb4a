"""Find the span column of records: judged by all records, reported, and refused if ambiguous."""

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
    """Return the names in `SPAN_COLUMNS`, starting with those that hold spans in any record.

    Raises:
      ValueError: two columns of a record hold different spans; --spans-column must choose.
    """
    if options.spans_column is not None:
        return SPAN_COLUMNS
    written: dict[str, str] = {}  # lower-case name -> name in the file
    filled: set[str] = set()
    beside: dict[tuple[str, str], int] = {}  # two differing columns of a record -> its line
    for line, record in records:
        found = span_values(record, options)
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
            message = f"the columns {first!r} and {second!r} hold different spans"
            flags = f"choose --spans-column {first} or --spans-column {second}"
            raise BadCorpus(source, line, f"{message}: {flags}")
        full, empty = (one, two) if one in filled else (two, one)
        if full in filled:
            why = f"spans are read from {written[full]!r}; {written[empty]!r} holds none"
            notes.choices.append(why)
    return sorted(SPAN_COLUMNS, key=lambda name: name not in filled)


def span_values(record: Record, options: ReadOptions) -> dict[str, Any]:
    """Return the columns of a record that could be its spans: lists of spans, empty or not.

    A requested column, if any, replaces the usual names.
    """
    wanted = options.spans_column
    return {
        name: value
        for name, value in record.items()
        if (name == wanted if wanted is not None else str(name).lower() in SPAN_COLUMNS)
        and _is_spans(value)
    }


def spans_beside(record: Record, options: ReadOptions) -> str | None:
    """Return the span column of a record with a text; None if it has no spans or no text."""
    if options.text_column is not None:
        text = record.get(options.text_column)
    else:
        names = {str(name).lower(): name for name in reversed(list(record))}
        text = next((record[names[name]] for name in TEXT_COLUMNS if name in names), None)
    found = span_values(record, options) if isinstance(text, str) else {}
    return next(iter(sorted(found, key=lambda name: not _is_filled(found[name]))), None)


def filled_spans(record: Record, options: ReadOptions) -> str | None:
    """Like `spans_beside`, but None if the spans are empty."""
    column = spans_beside(record, options)
    return column if column is not None and _is_filled(record[column]) else None


def says_spans(record: Record, options: ReadOptions) -> bool:
    """Whether the user requests the text and spans of a record that may also have tags."""
    asked = options.text_column is not None or options.spans_column is not None
    return asked and options.tag_column is None and spans_beside(record, options) is not None


def beside_tags(
    source: Path | str, choice: Choice, tally: Tally, spans: Mapping[str, int]
) -> Choice:
    """Return the chosen tag column, with a note about spans in the same records.

    Args:
      source: for messages.
      choice: the tag column.
      tally: counts of the columns that could hold tags.
      spans: span columns -> the first line that has spans.

    Raises:
      ValueError: the tags are not entities, so the spans could be meant instead.
    """
    for column, line in spans.items():
        counts = tally.counts.get(choice.column or "")
        kind = kind_of(choice.column or "", counts) if counts else ENTITIES
        if kind in (OUTSIDE_ONLY, CHUNKED, SEGMENTS):
            message = f"{column!r} holds spans, and {choice.column!r} holds {kind}"
            flags = f"choose --spans-column {column} or --tag-column {choice.column}"
            raise BadCorpus(source, line, f"{message}: {flags}")
        why = f"{choice.why}; the spans in {column!r} are ignored (use --spans-column to read them)"
        choice = choice._replace(why=why)
    return choice


def _is_spans(value: Any) -> bool:
    """Whether a value is a (possibly empty) list of spans, or a struct of lists of their parts."""
    if isinstance(value, dict):
        return bool(set(STARTS) & value.keys()) and all(isinstance(v, list) for v in value.values())
    return isinstance(value, list) and all(map(_is_span, value))


def _is_span(item: Any) -> bool:
    if isinstance(item, dict):
        return all(set(names) & item.keys() for names in (STARTS, ENDS, KINDS))
    of_three = isinstance(item, list | tuple) and len(item) == 3
    return of_three and None not in (whole_number(item[0]), whole_number(item[1]))


def _places(value: Any) -> Any:
    """Reduce spans in any notation to start, end and type; return other values unchanged."""
    try:
        regions = read_regions("", 0, "", value)
    except BadCorpus:
        return value
    return {(region.start, region.end, region.kind) for region in regions}


def _is_filled(value: Any) -> bool:
    return any(value.values()) if isinstance(value, dict) else bool(value)
