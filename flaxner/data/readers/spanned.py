"""Read records of a text with character spans, as annotation tools write them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flaxner.data.readers.offsets import INVISIBLE
from flaxner.data.readers.offsets import others as offset_units
from flaxner.data.readers.source import (
    DOCUMENT_COLUMNS,
    BadCorpus,
    Notes,
    ReadOptions,
    document_name,
    excerpt,
)
from flaxner.data.readers.spans import Offsets
from flaxner.data.readers.values import described, trimmed

# Names of columns in tools and published corpora, likeliest first.
TEXT_COLUMNS = ("text", "sentence", "content", "data", "context")
SPAN_COLUMNS = ("spans", "entities", "ents", "label", "labels", "annotations", "ner")
STARTS = ("start_char", "start_offset", "start", "begin", "from")
ENDS = ("end_char", "end_offset", "end", "stop", "to")
# Next to another of these, "entity" usually is the text of the span.
KINDS = ("label", "labels", "entity_group", "entity_type", "type", "tag", "entity")
# Keys under which some exports repeat the text of a span, others something else.
OF_TEXTS = ("mention", "surface", "entity", "word", "value")

Record = Mapping[str, Any]


class Region(NamedTuple):
    """A marked range of a text.

    Attributes:
      start, end: half-open, in the offset unit of the tool that wrote it.
      kind: its type.
      text: the text of the range according to the tool; empty if not given.
    """

    start: int
    end: int
    kind: str
    text: str = ""


@dataclasses.dataclass(frozen=True)
class Annotated:
    """A text with its marked regions.

    Attributes:
      line: its line in the file.
      text: the text.
      regions: the marked regions.
      offsets: the words, if the tool has split the text.
      document: number or name of the document, if the file has one.
      name: its name in messages, such as "task 7"; empty: its line is used.
      marks_reviewed: whether the tool distinguishes texts without entities from texts that nobody
        looked at.
    """

    line: int
    text: str
    regions: tuple[Region, ...]
    offsets: Offsets | None = None
    document: int | str | None = None
    name: str = ""
    marks_reviewed: bool = False


def named(
    source: Path | str, line: int, record: Record, wanted: str | None, known: Sequence[str]
) -> str | None:
    """Return the column to read: the wanted one, or the first known name that exists.

    Raises:
      ValueError: the wanted column does not exist.
    """
    if wanted is not None:
        if wanted not in record:
            there = ", ".join(map(str, record))
            raise BadCorpus(source, line, f"no column {wanted!r}; the record has {there[:200]}")
        return wanted
    lower = {str(name).lower(): name for name in reversed(list(record))}
    return next((lower[name] for name in known if name in lower), None)


def annotated(
    source: Path | str,
    line: int,
    record: Record,
    options: ReadOptions,
    notes: Notes,
    spans: Sequence[str],
) -> Annotated | None:
    """Read a record with a text and spans; None if null spans show that nobody looked at it.

    Args:
      source, line: for messages.
      record: names and values.
      options: names of columns.
      notes: collects what was left out.
      spans: names of the span column, likeliest first.

    Raises:
      ValueError: the text or the spans are missing, or the spans are malformed.
    """
    text_column = named(source, line, record, options.text_column, TEXT_COLUMNS)
    spans_column = named(source, line, record, options.spans_column, spans)
    if text_column is None or spans_column is None:
        there = ", ".join(map(str, record))
        message = f"a record needs words and tags, or a text and spans; it has {there[:200]}"
        raise BadCorpus(source, line, message)
    text, items = record[text_column], record[spans_column]
    if not isinstance(text, str):
        raise BadCorpus(source, line, f"{text_column!r} must be a text: got {described(text)}")
    if items is None:
        return None
    for other in record if options.text_column is None else ():
        also = record[other] if str(other).lower() in TEXT_COLUMNS else None
        if isinstance(also, str) and also not in ("", text):
            notes.passed_over("texts", text_column, str(other), "--text-column")
    listed = _listed(source, line, spans_column, items)
    regions = tuple(_region(source, line, item) for item in listed)
    for item, region in zip(listed, regions, strict=True):
        if isinstance(item, dict):
            _say_doubts(line, text, item, region, notes)
    offsets = token_offsets(record.get("tokens"), text, notes)
    return Annotated(line, text, regions, offsets, document_of(record))


def has_text_and_spans(record: Mapping[str, Any], options: ReadOptions) -> bool:
    """Whether a record has a text and a span column, judged by their names."""
    lower = {str(name).lower() for name in record}
    return all(
        wanted in record if wanted is not None else bool(lower & set(known))
        for wanted, known in (
            (options.text_column, TEXT_COLUMNS),
            (options.spans_column, SPAN_COLUMNS),
        )
    )


def document_of(record: Record) -> int | str | None:
    """Return the number or name of a record's document, if it has one."""
    lower = {str(name).lower(): value for name, value in record.items()}
    return document_name(next((lower[n] for n in DOCUMENT_COLUMNS if n in lower), None))


def read_regions(source: Path | str, line: int, column: str, items: Any) -> tuple[Region, ...]:
    """Read the value of a span column.

    Raises:
      ValueError: the value is not a list of spans.
    """
    return tuple(_region(source, line, item) for item in _listed(source, line, column, items))


def _listed(source: Path | str, line: int, column: str, items: Any) -> list[Any]:
    if isinstance(items, dict):  # a struct of lists, which `datasets` makes of a list of structs
        return _rows(source, line, column, items)
    if not isinstance(items, list):
        raise BadCorpus(source, line, f"{column!r} must be a list: got {described(items)}")
    return items


def _say_doubts(line: int, text: str, item: Record, region: Region, notes: Notes) -> None:
    """Note a second key that may hold the type, and a text that is not at the span's place."""
    kind, *others = (key for key in KINDS if key in item)
    for other in others:
        if item[other] not in (None, item[kind]) and str(item[other]) not in text:
            said = f"the types of spans are read from {kind!r}; {other!r} is ignored"
            if said not in notes.choices:
                notes.choices.append(said)
    own = next((item[key] for key in OF_TEXTS if key in item and key != kind), None)
    if (
        region.text
        or not isinstance(own, str)
        or not own.strip()
        or offset_units(text, likely=True)
    ):
        return
    if own in text and own != text[region.start : region.end]:
        notes.count(
            "spans are not the text that they come with: their ends may be inclusive (add 1), or "
            "their places wrong",
            f"line {line}: {excerpt(own, 20)}",
        )


def whole_number(value: Any) -> int | None:
    """Parse an offset as JSON, CSV and pandas write it: 3, 3.0, "3"; None if not a whole number."""
    if type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        return int(value)
    return None


def _rows(source: Path | str, line: int, column: str, table: Record) -> list[Any]:
    lists = list(table.values())
    if not all(isinstance(v, list) and len(v) == len(lists[0]) for v in lists):
        raise BadCorpus(source, line, f"{column!r} must be a list of spans: got {described(table)}")
    return [dict(zip(table, row, strict=True)) for row in zip(*lists, strict=True)]


def _region(source: Path | str, line: int, item: Any) -> Region:
    values: Sequence[Any]
    own = ""
    if isinstance(item, dict):
        cells = [next((item[k] for k in keys if k in item), None) for keys in (STARTS, ENDS, KINDS)]
        values = cells
        own = item["text"] if isinstance(item.get("text"), str) else ""
    else:
        values = item if isinstance(item, list | tuple) else ()
    if len(values) == 3:
        start, end, kind = whole_number(values[0]), whole_number(values[1]), values[2]
        if start is not None and end is not None and isinstance(kind, str) and trimmed(kind):
            return Region(start, end, trimmed(kind), own)
    found = ", ".join(map(described, values)) if len(values) == 3 else described(item)
    names = f" (in {described(item)})" if isinstance(item, dict) else ""
    message = f"a span must have start, end and type: got {found}{names}"
    if len(values) == 3 and type(values[2]) is int and None not in map(whole_number, values[:2]):
        message += "; replace the numbers of types by their names"
    raise BadCorpus(source, line, message)


def token_offsets(tokens: Any, text: str, notes: Notes) -> Offsets | None:
    """Return the words that Prodigy or spaCy stored with a text, if they cover it in order.

    If they do not, that is counted, and the text is split into words like any other.
    """
    if not isinstance(tokens, list) or not tokens or not isinstance(tokens[0], dict):
        return None
    offsets = _token_offsets(tokens, text)
    if offsets is None:
        notes.count("texts have tokens that do not cover all their words: these tokens are ignored")
    return offsets


def _token_offsets(tokens: Sequence[Any], text: str) -> Offsets | None:
    offsets = []
    for token in tokens:
        pair = (token.get("start"), token.get("end")) if isinstance(token, dict) else (None, None)
        start, end = map(whole_number, pair)
        if start is None or end is None:
            return None
        offsets.append((start, end))
    borders = [place for pair in offsets for place in pair]
    if borders != sorted(borders) or borders[0] < 0 or borders[-1] > len(text):
        return None
    places = zip([0, *borders[1::2]], [*borders[::2], len(text)], strict=True)
    between = "".join(text[a:b] for a, b in places)
    if "".join(between.split()).strip(INVISIBLE):
        return None
    return [(a, b) for a, b in offsets if text[a:b].strip()] or None
