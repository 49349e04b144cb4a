"""Read CoNLL and similar files: one word per line, in columns, blank lines between sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from flaxner.data.column_text import DOCUMENT_MARK as DOCUMENT
from flaxner.data.column_text import as_meant, split
from flaxner.data.readers.column_layout import NO_WORD, SAMPLE_ROWS, Layout, find_layout
from flaxner.data.readers.quoting import unquoted
from flaxner.data.readers.source import (
    EMPTIED,
    EMPTY_WORD,
    BadCorpus,
    Notes,
    Raw,
    ReadOptions,
    excerpt,
    read_lines,
)
from flaxner.data.readers.tag_column import Choice
from flaxner.data.readers.values import trimmed
from flaxner.data.tags import OUTSIDE, parse_tag

DOCUMENT_MARKS = (DOCUMENT, "# newdoc")
SKIP = "\n"  # in place of the tag of a row that holds no word
COMMENT = re.compile(r"# \S+ = ")
COMMENTS = "rows before a sentence and with # first are read as comments, but could be words"


def detect(path: Path, head: str) -> bool:
    """Whether most of the first lines have a tag in some column after the first."""
    rows = [split(line) for line in head.split("\n")[:-1][:SAMPLE_ROWS] if line.strip()]
    rows = [row for row in rows if not row[0].startswith(NO_WORD)]
    tagged = sum(any(parse_tag(field) for field in row[1:]) for row in rows)
    return bool(rows) and tagged * 2 > len(rows)


def read(path: Path, options: ReadOptions, notes: Notes) -> Iterator[Raw]:
    """Yield the sentences of a column file.

    Raises:
      ValueError: see `BadCorpus`; a row has too few or too many columns, or a tag is invalid.
    """
    layout, choice = find_layout(path, options, notes)
    words: list[str] = []
    tags: list[str] = []
    intern: dict[str, str] = {}
    meaning: dict[str, str | None] = {SKIP: None}
    document, begun = None, 1
    plain = -1 if layout.index or layout.key else layout.width
    word_at, tag_at = layout.word, layout.tag
    for start, lines in read_lines(path):
        for number, line in enumerate(lines, start):
            fields = split(line)
            if len(fields) == plain and not fields[0].startswith(NO_WORD):
                # The usual case: a known word and a known tag, so nothing special about the row.
                known, tag = intern.get(fields[word_at]), meaning.get(fields[tag_at])
                if known is not None and tag is not None:
                    if not words:
                        begun = number
                    words.append(known)
                    tags.append(tag)
                    continue
            if line.startswith(DOCUMENT_MARKS) and _is_mark(fields, layout, choice):
                value, word = OUTSIDE, DOCUMENT
            elif len(fields) == plain:
                value, word = fields[tag_at], fields[word_at]
            elif not fields or (len(fields) == 1 and not fields[0].strip()):
                if words:
                    yield Raw(tuple(words), tuple(tags), document, begun)
                    words, tags = [], []
                continue
            else:
                word, value = _row(path, number, fields, layout, words)
                if value == SKIP and layout.index and fields[0][:1].isdecimal():
                    _count_skipped(number, fields, layout, choice, notes)
            if word == DOCUMENT:
                if words:
                    yield Raw(tuple(words), tuple(tags), document, begun)
                    words, tags = [], []
                document = 0 if document is None else document + 1
                continue
            if not words and fields[0] == "#" and _is_comment(line, number, value, choice, notes):
                continue
            if value not in meaning:
                meaning[value] = choice.tag(_meant(trimmed(value), layout))
            tag = meaning[value]
            if tag is None or not word:
                if value == SKIP or (line.startswith("#") and not words):
                    continue  # before a sentence, # begins a comment; within one, a hashtag
                if tag != OUTSIDE:
                    raise _bad_row(path, number, word, value, choice)
                word = EMPTY_WORD
                notes.count(EMPTIED, f"line {number}")
            if not words:
                begun = number
            if word not in intern:
                intern[word] = _meant(word.strip(" ") or word, layout)
            words.append(intern[word])
            tags.append(tag)
    if words:
        yield Raw(tuple(words), tuple(tags), document, begun)


def _is_mark(fields: list[str], layout: Layout, choice: Choice) -> bool:
    """Whether a line that starts like a document marker is one, and not a word with its tag."""
    if fields[0] == DOCUMENT or len(fields) != layout.width or layout.index or layout.key:
        return True
    return choice.bare or choice.tag(trimmed(fields[layout.tag])) is None


def _is_comment(line: str, number: int, value: str, choice: Choice, notes: Notes) -> bool:
    """Whether a row before a sentence that starts like a comment is one, and not the word `#`.

    Comments that could also be a word with its tag are counted.
    """
    value = trimmed(value)
    keyed = COMMENT.match(line) is not None
    foreign = choice.bare and value not in choice.types
    if keyed != foreign and choice.tag(value) is not None:
        notes.count(COMMENTS, f"line {number}")
    return keyed or foreign


def _meant(field: str, layout: Layout) -> str:
    """Return the word or tag that a field stands for."""
    field = unquoted(field) if layout.quoted else field
    return as_meant(field) if layout.escaped else field


def _row(
    path: Path, number: int, fields: list[str], layout: Layout, words: list[str]
) -> tuple[str, str]:
    """Return word and tag of an unusual row; the tag is SKIP if the row holds no word."""
    wanted = layout.width or 1 + max(
        column if column >= 0 else -column - 1 for column in (layout.word, layout.tag)
    )
    if len(fields) < wanted or (layout.width and len(fields) > wanted):
        if fields[0].startswith("#") and not words:
            return "", SKIP
        few = "too few columns" if len(fields) < wanted else "too many columns"
        message = f"{few}: got {len(fields)}, expected {wanted}: {excerpt(' '.join(fields))}"
        raise BadCorpus(path, number, message)
    if layout.index and not fields[0].isdecimal():
        if fields[0].replace("-", ".", 1).replace(".", "", 1).isdecimal():
            return "", SKIP  # CoNLL-U: 3-4 is a contraction of words 3 and 4, 5.1 an empty node
        if fields[0].startswith("#") and not words:
            return "", SKIP
        message = f"the first column must number the words: got {excerpt(fields[0])}"
        raise BadCorpus(path, number, message)
    return fields[layout.word], _tag(fields, layout)


def _tag(fields: list[str], layout: Layout) -> str:
    tag = fields[layout.tag]
    if layout.key:
        values = dict(pair.partition("=")[::2] for pair in tag.split("|"))
        tag = trimmed(values.get(layout.key, OUTSIDE))
    return tag


def _count_skipped(
    number: int, fields: list[str], layout: Layout, choice: Choice, notes: Notes
) -> None:
    """Count a skipped row of CoNLL-U that has a tag of its own, which its words may lack."""
    if choice.tag(trimmed(_tag(fields, layout))) not in (None, OUTSIDE):
        what = "rows of contractions (3-4) and empty nodes (5.1) have tags that are not read"
        notes.count(what, f"line {number}")


def _bad_row(path: Path, number: int, word: str, value: str, choice: Choice) -> BadCorpus:
    if not word and choice.tag(value) is not None:
        return BadCorpus(path, number, f"a word tagged {excerpt(value)} must not be empty")
    return BadCorpus(path, number, choice.fault(value))
