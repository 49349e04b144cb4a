"""CoNLL and its relatives: a word a line, its fields in columns, a blank line between sentences."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flaxner.data.column_text import DOCUMENT_MARK
from flaxner.data.readers.source import (
    EMPTIED,
    EMPTY_WORD,
    BadCorpus,
    Guessed,
    Notes,
    Raw,
    ReadOptions,
    excerpt,
    read_lines,
)
from flaxner.data.readers.tag_column import ENTITIES, Choice, Tally, choose, given, kind_of
from flaxner.data.tags import OUTSIDE, parse_tag

DOCUMENT = DOCUMENT_MARK
DOCUMENT_MARKS = (DOCUMENT, "# newdoc")
SKIP = "\n"  # stands for the tag of a row that holds no word
SAMPLE_ROWS = 2000
KEPT_ROWS = 1 << 18  # different ones that are counted before they are taken apart
NO_WORD = ("#", DOCUMENT)  # begins of lines that are no evidence of what a column holds
# A UD-style file keeps its tag in the last column, as one of these keys.
MISC_KEYS = ("NER", "ner", "NE", "name", "Name", "Entity")


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where things stand in a row.

    Attributes:
      width: number of columns; 0: any that reaches the wanted ones.
      word, tag: column numbers.
      index: whether the first column counts the words (CoNLL-U's ranges are skipped).
      key: the tag is the value of this key in a column such as `NER=B-PER|SpaceAfter=No`.
    """

    width: int
    word: int
    tag: int
    index: bool = False
    key: str = ""


def detect(path: Path, head: str) -> bool:
    """Whether most lines of the file's beginning end in a tag or hold one."""
    rows = [split(line) for line in head.split("\n")[:-1][:SAMPLE_ROWS] if line.strip()]
    rows = [row for row in rows if not row[0].startswith(("#", DOCUMENT))]
    tagged = sum(any(parse_tag(field) for field in row[1:]) for row in rows)
    return bool(rows) and tagged * 2 > len(rows)


def split(line: str) -> list[str]:
    """The fields of a row: at tabs if there is one, else at runs of spaces; nowhere else."""
    line = line.rstrip(" \t\r")
    if "\t" in line:
        return line.split("\t")
    return [field for field in line.split(" ") if field]


def read(path: Path, options: ReadOptions, notes: Notes) -> Iterator[Raw]:
    """The sentences of a column file.

    Raises:
      ValueError: see `BadCorpus`; a row with too few or too many columns, a tag that is no tag.
    """
    layout, choice = _layout(path, options, notes)
    words: list[str] = []
    tags: list[str] = []
    intern: dict[str, str] = {}
    meaning: dict[str, str | None] = {SKIP: None}
    document, begun = None, 1
    for start, lines in read_lines(path):
        for number, line in enumerate(lines, start):
            fields = split(line)
            if len(fields) == layout.width and not layout.index and not layout.key:
                value, word = fields[layout.tag], fields[layout.word]
            elif not fields or (len(fields) == 1 and not fields[0].strip()):
                if words:
                    yield Raw(tuple(words), tuple(tags), document, begun)
                    words, tags = [], []
                continue
            else:
                row = (DOCUMENT, OUTSIDE)
                if not line.startswith(DOCUMENT_MARKS):
                    row = _row(path, number, fields, layout, words)
                word, value = row
            if word == DOCUMENT:
                if words:
                    yield Raw(tuple(words), tuple(tags), document, begun)
                    words, tags = [], []
                document = 0 if document is None else document + 1
                continue
            if value not in meaning:
                meaning[value] = choice.tag(value)
            tag = meaning[value]
            if tag is None or not word:
                if value == SKIP or (line.startswith("#") and not words):
                    continue  # before a sentence # is a comment, within one a hashtag
                if tag != OUTSIDE:
                    raise _bad_row(path, number, word, value, choice)
                word = EMPTY_WORD
                notes.count(EMPTIED, f"line {number}")
            if not words:
                begun = number
            words.append(intern.setdefault(word, word))
            tags.append(tag)
    if words:
        yield Raw(tuple(words), tuple(tags), document, begun)


def _row(
    path: Path, number: int, fields: list[str], layout: Layout, words: list[str]
) -> tuple[str, str]:
    """Word and tag of a row that is not the plain case; the tag is SKIP where there is none."""
    wanted = layout.width or 1 + max(
        column if column >= 0 else -column - 1 for column in (layout.word, layout.tag)
    )
    if len(fields) < wanted or (layout.width and len(fields) > wanted):
        if fields[0].startswith("#") and not words:
            return "", SKIP
        few = "too few columns" if len(fields) < wanted else "too many columns"
        message = f"{few}: {len(fields)}, where {wanted} are expected: {excerpt(' '.join(fields))}"
        raise BadCorpus(path, number, message)
    if layout.index and not fields[0].isdecimal():
        if fields[0].replace("-", ".", 1).replace(".", "", 1).isdecimal():
            return "", SKIP  # CoNLL-U: 3-4 is a contraction of words 3 and 4, 5.1 an empty node
        if fields[0].startswith("#") and not words:
            return "", SKIP
        message = f"the first column must count the words: {excerpt(fields[0])}"
        raise BadCorpus(path, number, message)
    tag = fields[layout.tag]
    if layout.key:
        values = dict(pair.partition("=")[::2] for pair in tag.split("|"))
        tag = values.get(layout.key, "O")
    return fields[layout.word], tag


def _bad_row(path: Path, number: int, word: str, value: str, choice: Choice) -> BadCorpus:
    if not word and choice.tag(value) is not None:
        return BadCorpus(path, number, f"a word with the tag {excerpt(value)} must not be empty")
    return BadCorpus(path, number, choice.fault(value))


def _layout(path: Path, options: ReadOptions, notes: Notes) -> tuple[Layout, Choice]:
    """How many columns there are, which is the word (by the first rows), which the tag (by all)."""
    rows: list[tuple[int, list[str]]] = []
    begins: set[int] = set()  # rows that begin a sentence
    fresh = True
    lines = (pair for start, lines in read_lines(path) for pair in enumerate(lines, start))
    for number, line in lines:
        fields = split(line)
        if not fields or not fields[0] or fields[0].startswith(NO_WORD):
            fresh = fresh or not fields
            continue
        if fresh:
            begins.add(len(rows))
        fresh = False
        rows.append((number, fields))
        if len(rows) == SAMPLE_ROWS:
            break
    if not rows:  # nothing, or nothing but hashtags: the plain layout, if there is any line
        return _explicit(path, options, Layout(2, 0, 1)), Choice(None)
    width = Counter(len(fields) for _, fields in rows).most_common(1)[0][0]
    if width < 2:
        number, fields = rows[0]
        message = f"too few columns: 1, where a word and a tag are expected: {excerpt(fields[0])}"
        raise BadCorpus(path, number, message)
    index = _counts_words(rows, begins, width)
    first = 1 if index and width > 2 else 0
    layout = _explicit(path, options, Layout(width, first, width - 1, index and width > 2))
    tally = _tally(path, width, [c for c in range(first, width) if c != layout.word])
    if options.tag_column is not None:
        choice = given(path, layout.tag, tally, options.scheme)
    else:
        layout, choice = _tag_column(path, rows[0], layout, tally, options)
        notes.guessed = Guessed(frozenset(range(width)), layout.tag)
    notes.choices.append(choice.why)
    return layout, choice


def _tally(path: Path, width: int, columns: list[int]) -> Tally:
    """The values of some columns in every row of the usual width.

    Equal rows are taken apart once; the word, in which most rows differ, is cut off for that.
    """
    tally, cut = Tally(), 0 not in columns
    tabbed: Counter[str] = Counter()
    spaced: Counter[str] = Counter()

    def flush() -> None:
        for counter, mark in ((tabbed, "\t"), (spaced, " ")):
            rows = [split(f"x{mark}{line}" if cut else line) for line in counter]
            kept = [
                (row, n) for row, n in zip(rows, counter.values(), strict=True) if len(row) == width
            ]
            for column in columns if kept else ():
                tally.add(column, [row[column] for row, _ in kept], [n for _, n in kept])
            counter.clear()

    for _, lines in read_lines(path):
        words = [line for line in lines if not line.startswith(NO_WORD)]
        for counter, mark, block in (
            (tabbed, "\t", [line for line in words if "\t" in line]),
            (spaced, " ", [line.lstrip(" ") for line in words if "\t" not in line]),
        ):
            counter.update([line.partition(mark)[2] for line in block] if cut else block)
        if len(tabbed) + len(spaced) > KEPT_ROWS:
            flush()
    flush()
    return tally


def _counts_words(rows: list[tuple[int, list[str]]], begins: set[int], width: int) -> bool:
    """Whether the first column is 0, 1, 2 ... or 1, 2, 3 ... in every sentence of the sample."""
    previous: int | None = None
    for i, (_, fields) in enumerate(rows):
        if i in begins:
            previous = None
        if len(fields) != width or not fields[0].isascii() or not fields[0].isdecimal():
            if fields[0].replace("-", "").replace(".", "").isdecimal():
                continue
            return False
        value = int(fields[0]) if len(fields[0]) < 10 else -1
        if value not in ((0, 1) if previous is None else (previous + 1,)):
            return False
        previous = value
    return previous is not None


def _tag_column(
    path: Path,
    first_row: tuple[int, list[str]],
    layout: Layout,
    tally: Tally,
    options: ReadOptions,
) -> tuple[Layout, Choice]:
    """The layout with the column of the tags, and why it is that."""
    counts = tally.counts.items()
    entities = [int(c) for c, values in counts if kind_of(c, values) == ENTITIES]
    if not entities:
        key = _misc_key(tally.counts.get(layout.width - 1, Counter()))
        if key:
            why = f"the tags are those of {key}= in the last column"
            return dataclasses.replace(layout, tag=layout.width - 1, key=key), Choice(None, why)
    if layout.index and len(entities) == 2 and _nested(path, layout.width, *entities):
        outer, inner = entities
        why = f"the tags are those of column {outer}; column {inner} holds entities within them"
        return dataclasses.replace(layout, tag=outer), Choice(outer, why)
    choice = choose(path, tally, options.scheme)
    if choice.column is None and layout.width == 2 and options.word_column is None:
        swapped = choose(path, _tally(path, 2, [0]), options.scheme)
        if swapped.column is not None:
            why = f"{swapped.why}; the words are those of column 1"
            return dataclasses.replace(layout, word=1, tag=0), swapped._replace(why=why)
    if choice.column is None:
        number, fields = first_row
        message = f"no column holds tags such as O and B-PER: {excerpt(' '.join(fields))}"
        raise BadCorpus(path, number, message)
    return dataclasses.replace(layout, tag=int(choice.column)), choice


def _misc_key(counts: Counter[str]) -> str:
    """The key of a UD-style column whose values are tags; empty: there is none."""
    values: dict[str, Counter[str]] = {}
    for field, count in counts.items():
        for pair in field.split("|"):
            key, equals, value = pair.partition("=")
            if equals and key in MISC_KEYS:
                values.setdefault(key, Counter())[value] += count
    tagged = [k for k in values if any(parse_tag(value) is not None for value in values[k])]
    return next((key for key in MISC_KEYS if key in tagged), "")


def _nested(path: Path, width: int, outer: int, inner: int) -> bool:
    """Whether entities of one column lie within those of the other, as GermEval 2014 has them."""
    within, rows, kinds = 0, 0, (set[str](), set[str]())
    for _, lines in read_lines(path):
        for fields in map(split, lines):
            if len(fields) != width or fields[0].startswith("#"):
                continue
            for found, column in zip(kinds, (outer, inner), strict=True):
                found.add((parse_tag(fields[column]) or ("", ""))[1])
            if fields[inner] != OUTSIDE:
                rows += 1
                within += fields[outer] != OUTSIDE
    return kinds[1] <= kinds[0] | {""} and 20 * within >= 19 * rows


def _explicit(path: Path, options: ReadOptions, layout: Layout) -> Layout:
    """The layout with the columns that the user has named."""
    for which in ("word", "tag"):
        value = getattr(options, f"{which}_column")
        if value is None:
            continue
        try:
            column = int(value)
        except ValueError:
            message = f"columns of such a file have numbers, not names: {which}_column {value!r}"
            raise BadCorpus(path, 1, message) from None
        if not -layout.width <= column < layout.width:
            message = f"there is no column {column}; the file has {layout.width}"
            raise BadCorpus(path, 1, message)
        changes: dict[str, Any] = {which: column % layout.width, "key": ""}
        layout = dataclasses.replace(layout, **changes)
    return layout
