"""Records (of JSON, Parquet, a data set): words with tags, or text with character spans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxner.data.readers import prodigy
from flaxner.data.readers.exports import from_tools
from flaxner.data.readers.laying import lay
from flaxner.data.readers.source import BadCorpus, Notes, Raw, ReadOptions, excerpt
from flaxner.data.readers.spanned import Annotated, annotated, document_of, named, short
from flaxner.data.tags import OUTSIDE, parse_tag, tag_fault

# Names that published corpora give their columns, the likelier first.
WORD_COLUMNS = ("tokens", "words", "token", "word", "form")
TAG_COLUMNS = ("ner_tags", "tags", "ner", "ner_tag", "tag", "labels", "label", "named_entities")

Record = Mapping[str, Any]
TagNames = Mapping[str, Sequence[str]]


def as_tags(names: Sequence[str]) -> Sequence[str]:
    """The names of tag ids; bare types (O, person, location) become tags in IO."""
    others = [name for name in names if name != OUTSIDE]
    if len(others) == len(names) or any(parse_tag(name) is not None for name in others):
        return names
    return [name if name == OUTSIDE else f"I-{name}" for name in names]


def read_records(
    source: Path | str,
    records: Iterable[tuple[int, Any]],
    options: ReadOptions,
    notes: Notes,
    tag_names: TagNames | None = None,
) -> Iterator[Raw]:
    """Records with the line (or number) of each -> sentences.

    Args:
      source: for messages.
      records: mappings; a list of a text and a mapping is read as spaCy 2 wrote it.
      options: names of columns.
      notes: what was passed over.
      tag_names: column -> names of its ids, where the file tells them.

    Raises:
      ValueError: a record without what is needed; one sentence with its line.
    """
    items = _items(source, records, options, notes, tag_names or {})
    return lay(source, items, options, notes)


def _items(
    source: Path | str,
    records: Iterable[tuple[int, Any]],
    options: ReadOptions,
    notes: Notes,
    tag_names: TagNames,
) -> Iterator[Raw | Annotated]:
    for item in from_tools(source, records, options, notes):
        if isinstance(item, Raw | Annotated):
            yield item
            continue
        line, record = item
        if isinstance(record, list | tuple) and len(record) == 2 and isinstance(record[1], dict):
            record = {"text": record[0], **record[1]}
        if not isinstance(record, dict):
            raise BadCorpus(source, line, f"a record must be an object: got {short(record)}")
        if reason := prodigy.not_accepted(record):
            notes.count(reason)
            continue
        words = named(source, line, record, options.word_column, WORD_COLUMNS)
        tags = named(source, line, record, options.tag_column, TAG_COLUMNS)
        if words and tags and _is_words(record[words]) and _is_flat(record[tags]):
            pair = _tagged(source, line, record, words, tags, tag_names.get(tags))
            yield Raw(*pair, document_of(record), line)
        elif found := annotated(source, line, record, options):
            yield found
        else:
            notes.count("records are left out: their spans are null", f"line {line}")


def _is_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _is_flat(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(tag, str | int) for tag in value)


def _tagged(
    source: Path | str,
    line: int,
    record: Record,
    word_column: str,
    tag_column: str,
    names: Sequence[str] | None,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    words, values = record[word_column], record[tag_column]
    if len(words) != len(values):
        message = f"there must be a tag for every word: {len(words)} words, {len(values)} tags"
        raise BadCorpus(source, line, message)
    tags = []
    for word, value in zip(words, values, strict=True):
        if not isinstance(value, str):
            if names is None:
                message = f"the ids in {tag_column!r} have no names; write tags such as B-PER"
                raise BadCorpus(source, line, message)
            if not 0 <= value < len(names):
                raise BadCorpus(source, line, f"a tag id must be below {len(names)}: got {value}")
            value = names[value]
        if parse_tag(value) is None:
            raise BadCorpus(source, line, f"{tag_fault(value)}: got {excerpt(value)}")
        if not word:
            raise BadCorpus(source, line, "a word must not be empty")
        tags.append(value)
    return tuple(words), tuple(tags)
