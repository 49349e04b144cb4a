"""spaCy's JSON: one `Doc.to_json()` per record, or the training format of spaCy 2."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flaxner.data.readers.source import BadCorpus, Notes, Raw, ReadOptions, excerpt
from flaxner.data.readers.spanned import (
    Annotated,
    Record,
    Region,
    read_regions,
    token_offsets,
    whole_number,
)
from flaxner.data.readers.values import described, trimmed
from flaxner.data.tags import parse_tag, tag_fault

UNKNOWN = "-"  # spaCy 2's tag for a word that was never annotated
UNANNOTATED = "documents without entity annotation are left out"
IN_GROUPS = (
    "documents with spans only in span groups are left out; --spans-column NAME reads a group"
)
PARTLY = "sentences with unannotated words are left out"
CROSSED = "documents are read as a whole, not in sentences: an entity crosses a sentence boundary"


def wrote(record: Record) -> bool:
    """Whether a record is a spaCy document."""
    if isinstance(record.get("paragraphs"), list):
        return True
    tokens = record.get("tokens")
    of_words = (
        isinstance(tokens, list)
        and tokens != []
        and all(isinstance(t, dict) and {"id", "start", "end"} <= t.keys() for t in tokens)
    )
    # Prodigy's tokens look the same, but its spans are a list.
    other = {"label", "labels", "entities", "annotations"} & record.keys()
    groups = isinstance(record.get("spans", {}), dict)
    return of_words and isinstance(record.get("text"), str) and groups and not other


def read(
    source: Path | str,
    records: Sequence[tuple[int, Record]],
    options: ReadOptions,
    notes: Notes,
) -> Iterator[Annotated | Raw]:
    """Yield the annotated sentences of documents.

    Raises:
      ValueError: a document cannot be read.
    """
    for number, (line, record) in enumerate(records):
        if "paragraphs" in record:
            yield from _training(source, line, record, number, notes)
        else:
            yield from _document(source, line, record, number, options, notes)


def _training(
    source: Path | str, line: int, record: Record, number: int, notes: Notes
) -> Iterator[Raw]:
    """[{"paragraphs": [{"sentences": [{"tokens": [{"orth", "ner"}]}]}]}]"""
    for paragraph in record["paragraphs"]:
        sentences = paragraph.get("sentences") if isinstance(paragraph, dict) else None
        for sentence in sentences if isinstance(sentences, list) else ():
            tokens = sentence.get("tokens") if isinstance(sentence, dict) else None
            if not isinstance(tokens, list) or not all(isinstance(t, dict) for t in tokens):
                raise BadCorpus(source, line, f"a sentence needs tokens: got {described(sentence)}")
            tokens = [t for t in tokens if str(t.get("orth", "")).strip()]
            words = tuple(str(t["orth"]) for t in tokens)
            tags = tuple(trimmed(str(t.get("ner", UNKNOWN))) for t in tokens)
            if UNKNOWN in tags:
                notes.count(PARTLY)
                continue
            for tag in tags:
                if parse_tag(tag) is None:
                    raise BadCorpus(source, line, f"{tag_fault(tag)}: got {excerpt(tag)}")
            if words:
                yield Raw(words, tags, number, line)


def _document(
    source: Path | str, line: int, record: Record, number: int, options: ReadOptions, notes: Notes
) -> Iterator[Annotated]:
    """{"text", "ents": [{"start", "end", "label"}], "sents": [{"start", "end"}], "tokens"}"""
    text, groups = record["text"], record.get("spans") or {}
    wanted = options.spans_column
    items = groups.get(wanted) if wanted in groups else record.get(wanted or "ents")
    if wanted is None and not items and any(groups.values()):
        notes.count(IN_GROUPS)
        return
    if items is None:
        absent = (
            f"documents without the span group {excerpt(wanted)} are left out" if wanted else ""
        )
        notes.count(absent or UNANNOTATED)
        return
    regions = read_regions(source, line, wanted or "ents", items)
    offsets = token_offsets(record["tokens"], text, notes)
    for start, end in _sentences(record.get("sents"), regions, len(text), notes):
        inside = tuple(
            Region(r.start - start, r.end - start, r.kind)
            for r in regions
            if start <= r.start < end or (r.start >= end == len(text))
        )
        words = [(a - start, b - start) for a, b in offsets or () if start <= a and b <= end]
        yield Annotated(line, text[start:end], inside, words or None, number, marks_reviewed=True)


def _sentences(
    marks: Any, regions: Sequence[Region], length: int, notes: Notes
) -> list[tuple[int, int]]:
    """Return the sentence boundaries; the whole text if there are none or a region crosses one."""
    borders = []
    for mark in marks if isinstance(marks, list) else ():
        pair = (mark.get("start"), mark.get("end")) if isinstance(mark, dict) else (None, None)
        start, end = map(whole_number, pair)
        if start is None or end is None or not 0 <= start < end <= length:
            return [(0, length)]
        borders.append((start, end))
    places = [place for pair in borders for place in pair]
    if not borders or places != sorted(places):
        return [(0, length)]
    if all(any(a <= r.start and r.end <= b for a, b in borders) for r in regions):
        return borders
    notes.count(CROSSED)
    return [(0, length)]
