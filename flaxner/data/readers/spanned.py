"""Records of a text with character spans, as annotation tools write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxner.data.readers.source import BadCorpus, Notes, ReadOptions, excerpt
from flaxner.data.readers.spans import Offsets, tag_text
from flaxner.data.tags import Span

# Names that tools and published corpora give their columns, the likelier first.
TEXT_COLUMNS = ("text", "sentence", "content", "data", "context")
SPAN_COLUMNS = ("spans", "entities", "label", "labels", "annotations", "ner")
STARTS = ("start", "start_offset", "begin", "start_char", "from")
ENDS = ("end", "end_offset", "stop", "end_char", "to")
KINDS = ("label", "labels", "type", "entity_group", "entity", "tag", "entity_type")
ANSWERS = ("reject", "ignore")  # Prodigy's marks of records that are not to be learnt

Record = Mapping[str, Any]


def named(
    source: Path | str, line: int, record: Record, wanted: str | None, known: Sequence[str]
) -> str | None:
    """The column that is meant: the wanted one, or the first known name that is there.

    Raises:
      ValueError: the wanted one is not there.
    """
    if wanted is not None:
        if wanted not in record:
            there = ", ".join(map(str, record))
            raise BadCorpus(source, line, f"there is no column {wanted!r}; there are {there[:200]}")
        return wanted
    lower = {str(name).lower(): name for name in reversed(list(record))}
    return next((lower[name] for name in known if name in lower), None)


def flat(record: Record) -> Record:
    """Label Studio's nesting undone: {"data": {"text"}, "annotations": [{"result": [...]}]}."""
    data, annotations = record.get("data"), record.get("annotations", record.get("completions"))
    if not isinstance(data, dict) or not isinstance(annotations, list):
        return record
    kept = [a for a in annotations if isinstance(a, dict) and not a.get("was_cancelled")]
    result = kept[0].get("result") if kept else []
    spans = [
        item["value"]
        for item in (result if isinstance(result, list) else [])
        if isinstance(item, dict)
        and isinstance(item.get("value"), dict)
        # choices and relations beside the spans have no place in the text
        and "start" in item["value"]
    ]
    return {**data, "spans": spans}


def read_spanned(
    source: Path | str, line: int, record: Record, options: ReadOptions, notes: Notes
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Words and tags of a record with a text and spans.

    Raises:
      ValueError: no text, no spans, or spans that do not fit.
    """
    text_column = named(source, line, record, options.text_column, TEXT_COLUMNS)
    spans_column = named(source, line, record, options.spans_column, SPAN_COLUMNS)
    if text_column is None or spans_column is None:
        there = ", ".join(map(str, record))
        message = f"a record needs words and tags, or a text and spans; it has {there[:200]}"
        raise BadCorpus(source, line, message)
    text = record[text_column]
    if not isinstance(text, str):
        raise BadCorpus(source, line, f"{text_column!r} must be a text: got {short(text)}")
    items = record[spans_column] if record[spans_column] is not None else []
    if isinstance(items, dict):  # a struct of lists, as `datasets` makes of a list of structs
        items = _rows(source, line, spans_column, items)
    if not isinstance(items, list):
        raise BadCorpus(source, line, f"{spans_column!r} must be a list: got {short(items)}")
    spans = [_span(source, line, item) for item in items]
    offsets = _token_offsets(record.get("tokens"), text)
    return tag_text(source, line, text, spans, options.span_policy, notes, offsets)


def _rows(source: Path | str, line: int, column: str, table: Record) -> list[Any]:
    lists = list(table.values())
    if not all(isinstance(v, list) and len(v) == len(lists[0]) for v in lists):
        raise BadCorpus(source, line, f"{column!r} must be a list of spans: got {short(table)}")
    return [dict(zip(table, row, strict=True)) for row in zip(*lists, strict=True)]


def _span(source: Path | str, line: int, item: Any) -> Span:
    values: Sequence[Any]
    if isinstance(item, dict):
        found = [next((item[k] for k in keys if k in item), None) for keys in (STARTS, ENDS, KINDS)]
        values = found
    else:
        values = item if isinstance(item, list | tuple) else ()
    if len(values) == 3:
        start, end, kind = values
        if isinstance(kind, list) and len(kind) == 1:  # Label Studio
            kind = kind[0]
        if type(start) is int and type(end) is int and isinstance(kind, str) and kind.strip():
            return start, end, kind
    raise BadCorpus(source, line, f"a span must be start, end and a type: got {short(item)}")


def _token_offsets(tokens: Any, text: str) -> Offsets | None:
    """The words that Prodigy or spaCy wrote beside the text, if they are whole and in order."""
    if not isinstance(tokens, list) or not tokens or not isinstance(tokens[0], dict):
        return None
    offsets: list[tuple[Any, Any]] = [
        (t.get("start"), t.get("end")) for t in tokens if isinstance(t, dict)
    ]
    if not all(type(a) is int and type(b) is int for a, b in offsets):
        return None
    borders = [place for pair in offsets for place in pair]
    fits = borders == sorted(borders) and borders[0] >= 0 and borders[-1] <= len(text)
    words = [(a, b) for a, b in offsets if text[a:b].strip()] if fits else []
    return words or None


def short(value: Any) -> str:
    """A value for a message, whatever its size."""
    if isinstance(value, dict):
        return f"an object with {', '.join(map(str, list(value)[:5]))}"[:80]
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return excerpt(str(value)[:61])
