"""Read records (from JSON, Parquet or data sets): words with tags, or text with character spans."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxner.data.readers import prodigy, tag_column
from flaxner.data.readers.column_kinds import Tally
from flaxner.data.readers.exports import from_tools
from flaxner.data.readers.laying import lay
from flaxner.data.readers.rows import read_rows
from flaxner.data.readers.source import (
    EMPTIED,
    EMPTY_WORD,
    BadCorpus,
    Guessed,
    Notes,
    Raw,
    ReadOptions,
    excerpt,
)
from flaxner.data.readers.span_columns import (
    beside_tags,
    choose_spans,
    filled_spans,
    says_spans,
    spans_beside,
)
from flaxner.data.readers.spanned import (
    Annotated,
    annotated,
    document_of,
    has_text_and_spans,
    named,
)
from flaxner.data.readers.tag_column import TAG_COLUMNS, WORD_COLUMNS, Choice
from flaxner.data.readers.values import (
    as_tags,
    bare_note,
    described,
    list_value,
    named_ids,
    tag_value,
    trimmed,
    word_values,
)
from flaxner.data.readers.word_rows import as_rows, header_of_words
from flaxner.data.tags import OUTSIDE
from flaxner.wording import number_of

Record = Mapping[str, Any]
Records = Callable[[], Iterable[tuple[int, Any]]]
TagNames = Mapping[str, Sequence[str]]


def read_records(
    source: Path | str,
    records: Records,
    options: ReadOptions,
    notes: Notes,
    tag_names: TagNames | None = None,
) -> Iterator[Raw]:
    """Turn records, each with its line (or number), into sentences.

    Args:
      source: for messages.
      records: returns a new iterator over the records: they are read several times, first to find
        the tag column. A record is a mapping; a list of a text and a mapping is read in spaCy 2's
        format; records of a word and its tag are read as rows of a table.
      options: names of columns.
      notes: collects what was chosen and left out.
      tag_names: names for the ids of each column for which the file has them.

    Raises:
      ValueError: a record lacks something, or two columns could hold the tags.
    """
    tables = tag_names or {}
    first = next((_mapping(record) for _, record in records()), None)
    header = header_of_words(first, options)
    if header:
        yield from read_rows(
            source, header, lambda: as_rows(source, records(), header), options, notes, tables
        )
        return
    names = {column: as_tags(table) for column, table in tables.items()}
    choice = _choice(source, records, options, names, notes)
    if choice is not None:
        notes.choices += [choice.why, *bare_note(choice.column, tables)]
    items = _items(source, records, options, notes, choice, names)
    yield from lay(source, items, options, notes)


def _items(
    source: Path | str,
    records: Records,
    options: ReadOptions,
    notes: Notes,
    choice: Choice | None,
    names: TagNames,
) -> Iterator[Raw | Annotated]:
    known: Sequence[str] | None = None  # names of span columns, once a record has spans
    meanings: dict[str, dict[str | int, str]] = {}  # tag column -> value -> tag
    for item in from_tools(source, records(), options, notes):
        if isinstance(item, Raw | Annotated):
            yield item
            continue
        line, record = item[0], _mapping(item[1])
        if not isinstance(record, dict):
            message = f"a record must be an object: got {described(record)}"
            raise BadCorpus(source, line, message)
        if reason := prodigy.not_accepted(record):
            notes.count(reason)
            continue
        columns = _columns(source, line, record, options, choice)
        if columns is not None:
            words, tags = columns
            mine = choice or tag_column.named(tags)
            known_tags = meanings.setdefault(tags, {})
            read = (source, line, record, words, tags, mine, names.get(tags), notes, known_tags)
            pair = _tagged(*read)
            yield Raw(*pair, document_of(record), line)
            continue
        if known is None:
            known = choose_spans(source, _objects(records), options, notes)
        found = annotated(source, line, record, options, notes, known)
        if found is not None:
            yield found
        else:
            notes.count("records with null spans are left out", f"line {line}")


def _mapping(record: Any) -> Any:
    if isinstance(record, list | tuple) and len(record) == 2 and isinstance(record[1], dict):
        return {"text": record[0], **record[1]}
    return record


def _objects(records: Records) -> Iterator[tuple[int, Record]]:
    """Yield the records that are objects and were not rejected."""
    for line, item in records():
        record = _mapping(item)
        if isinstance(record, dict) and not prodigy.not_accepted(record):
            yield line, record


def _choice(
    source: Path | str, records: Records, options: ReadOptions, names: TagNames, notes: Notes
) -> Choice | None:
    """Choose the tag column by all records; None if none of them shows it."""
    tally = Tally()
    read: dict[str, None] = {}  # word columns
    spans: dict[str, int] = {}  # span columns of the same records -> line
    for line, record in _objects(records):
        words = _word_column(record, options)
        if words is None or says_spans(record, options):
            continue
        read[words] = None
        for other in _other_words(record, words, options):
            if record[other] != record[words]:
                notes.passed_over("words", words, other, "--word-column")
        if column := filled_spans(record, options):
            spans.setdefault(column, line)
        for column, values in record.items():
            if column == words or not isinstance(values, list) or len(values) != len(record[words]):
                continue
            cells = named_ids(values, names[column]) if column in names else values
            kinds = {*map(type, cells)}
            if kinds <= {str}:
                tally.add(column, [trimmed(value) for value in cells])
            elif kinds == {int}:
                tally.ids.add(column)
    mine = next(iter(read)) if options.word_column is None and len(read) == 1 else None
    among = frozenset(tally.counts) | tally.ids | read.keys()
    notes.guessed = Guessed(among, None, mine)
    if options.tag_column is not None:
        return tag_column.given(source, options.tag_column, tally, options.scheme)
    choice = tag_column.choose(source, tally, options.scheme)
    if choice.column is None:
        if spans:
            why = "no other column holds tags"
            notes.choices.append(f"spans are read from {next(iter(spans))!r}; {why}")
        return None
    notes.guessed = Guessed(among, choice.column, mine)
    return beside_tags(source, choice, tally, spans)


def _word_column(record: Record, options: ReadOptions) -> str | None:
    """Return the column that holds the words as a list, if there is one."""
    if options.word_column is not None:
        known: Sequence[str] = (options.word_column,)
        lower = {name: name for name in record}
    else:
        known = WORD_COLUMNS
        lower = {str(name).lower(): name for name in reversed(list(record))}
    lists = (lower[name] for name in known if name in lower)
    return next((n for n in lists if isinstance(record[n], list)), None)


def _other_words(record: Record, words: str, options: ReadOptions) -> list[str]:
    """Return other columns that hold lists of words, unless the user requested one."""
    known = WORD_COLUMNS if options.word_column is None else ()
    return [
        name
        for name, value in record.items()
        if str(name).lower() in known
        and name != words
        and isinstance(value, list)
        and all(isinstance(item, str) for item in value)
    ]


def _columns(
    source: Path | str,
    line: int,
    record: Record,
    options: ReadOptions,
    choice: Choice | None,
) -> tuple[str, str] | None:
    """Return the word and tag columns; None if the record is a text with spans."""
    if options.word_column is not None:
        named(source, line, record, options.word_column, WORD_COLUMNS)  # refuses one that is absent
    if says_spans(record, options):
        return None
    asked = (options.text_column, options.spans_column)
    if any(asked) and options.tag_column is None and spans_beside(record, ReadOptions()):
        for wanted in asked:  # a requested column that does not exist is an error
            named(source, line, record, wanted, ())
    if choice is None and options.tag_column is None and spans_beside(record, options):
        return None  # tags only by name (parts of speech, say), beside spans
    words = named(source, line, record, options.word_column, WORD_COLUMNS)
    words = _word_column(record, options) or words
    if options.tag_column is None and choice is not None:
        tags = str(choice.column) if choice.column in record else None
    else:
        tags = named(source, line, record, options.tag_column, TAG_COLUMNS)
    if words is None or tags is None:
        if choice is not None and words is not None and not has_text_and_spans(record, options):
            there = ", ".join(map(str, record))[:200]
            message = f"no column {choice.column!r}, unlike in other records; this one has {there}"
            raise BadCorpus(source, line, message)
        return None
    fit = all(
        isinstance(record[name], list) and {dict, list}.isdisjoint(map(type, record[name]))
        for name in (words, tags)
    )
    return None if not fit and has_text_and_spans(record, options) else (words, tags)


def _tagged(
    source: Path | str,
    line: int,
    record: Record,
    word_column: str,
    column: str,
    choice: Choice,
    names: Sequence[str] | None,
    notes: Notes,
    meaning: dict[str | int, str],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the words and tags of a record that has a list of each.

    `meaning` collects the tags that values stand for, so that each is interpreted once.
    """
    words = word_values(source, line, word_column, record[word_column])
    values = list_value(source, line, column, record[column])
    if len(words) != len(values):
        got = f"{number_of(len(words), 'words')} and {number_of(len(values), 'tags')}"
        message = f"each word must have one tag: got {got}"
        if also := ", ".join(_other_words(record, word_column, ReadOptions())):
            message += f"; --word-column can select {also} instead of {word_column}"
        raise BadCorpus(source, line, message)
    if "" not in words and {*map(type, values)} <= {str, int}:  # True and 1.0 would find 1
        with contextlib.suppress(KeyError):
            return words, tuple(map(meaning.__getitem__, values))
    tags = []
    for word, item in zip(words, values, strict=True):
        value = tag_value(source, line, column, item, names)
        tag = choice.tag(value)
        if tag is None:
            raise BadCorpus(source, line, choice.fault(value))
        if not word and tag != OUTSIDE:
            message = f"a word tagged {excerpt(value)} must not be empty"
            raise BadCorpus(source, line, message)
        tags.append(tag)
        if type(item) in (str, int):
            meaning[item] = tag
    if "" in words:
        for _ in range(words.count("")):
            notes.count(EMPTIED, f"line {line}")
        words = tuple(word or EMPTY_WORD for word in words)
    return words, tuple(tags)
