"""Prodigy's JSON Lines (`prodigy db-out`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from flaxner.data.readers.source import Notes, ReadOptions
from flaxner.data.readers.span_columns import choose_spans
from flaxner.data.readers.spanned import Annotated, Record, annotated, named

ANSWERS = ("accept", "reject", "ignore")
BINARY_VIEWS = ("ner", "spans")  # unlike ner_manual and spans_manual, which cover the whole text


def wrote(record: Record) -> bool:
    """Whether a record is from Prodigy: a text with its hash or an answer."""
    known = "_input_hash" in record or record.get("answer") in ANSWERS or _answers_spans(record)
    words = record.get("tokens") or [{}]  # a list of strings if the record also has tags
    tagged = isinstance(words, list) and not isinstance(words[0], dict)
    return known and isinstance(record.get("text"), str) and not tagged


def read(
    source: Path | str,
    records: Sequence[tuple[int, Record]],
    options: ReadOptions,
    notes: Notes,
) -> Iterator[Annotated]:
    """Yield the texts that were accepted and annotated as a whole.

    Left out and counted are records that were rejected or ignored, answers to a question about one
    span (which say nothing about the rest of the text), and texts whose records have different
    spans.

    Raises:
      ValueError: a record has no text, or has malformed spans.
    """
    texts: dict[str, list[Annotated]] = {}
    read = [(n, r) for n, r in records if not _left_out(r)]
    known = choose_spans(source, read, options, notes)
    for line, record in records:
        reason = _left_out(record)
        if reason:
            notes.count(reason)
            continue
        column = options.spans_column or named(source, line, record, None, known)
        # In some versions a text in which nothing was marked has no "spans" at all.
        full = record if column in record else {**record, column or "spans": []}
        item = annotated(source, line, full, options, notes, known)
        if item is not None:
            key = str(record.get("_input_hash", f"line {line}"))
            texts.setdefault(key, []).append(dataclasses.replace(item, marks_reviewed=True))
    for items in texts.values():
        first = items[0]
        if any(set(item.regions) != set(first.regions) for item in items):
            lines = " and ".join(f"line {item.line}" for item in items[:2])
            notes.count("texts are left out: their records contradict each other", lines)
            continue
        if len(items) > 1:
            notes.count("texts have several records that agree: they are read once")
        yield first


def _left_out(record: Record) -> str:
    """Return why a record is not an annotation of its whole text; empty if it is one."""
    if reason := not_accepted(record):
        return reason
    spans = record.get("spans")
    if record.get("answer") is None and not spans:
        return "records without an answer and without spans are left out: nobody looked at them"
    view, binary = record.get("_view_id"), record.get("_is_binary")
    if binary is None:
        # Older versions did not store this; their binary records have one suggestion with a score.
        only = spans[0] if isinstance(spans, list) and len(spans) == 1 else None
        scored = isinstance(only, dict) and "score" in only
        binary = view in BINARY_VIEWS or (view is None and scored)
    if binary or _answers_spans(record):
        return (
            "records are left out: accepting or rejecting one span says nothing of the whole text"
        )
    return ""


def _answers_spans(record: Record) -> bool:
    """Whether the spans have answers of their own, as `merge_spans` gives them."""
    spans = record.get("spans")
    items = spans if isinstance(spans, list) else ()
    return any(isinstance(item, dict) and item.get("answer") in ANSWERS for item in items)


def not_accepted(record: Record) -> str:
    """Return why a record is left out because of its answer; empty if it is not."""
    answer = record.get("answer")
    if answer not in ("reject", "ignore"):
        return ""
    done = "rejected" if answer == "reject" else "ignored"
    return f"records {done} in Prodigy are left out"
