"""CoNLL and its relatives: a word a line, its fields in columns, a blank line between sentences."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flaxner.data.readers.source import BadCorpus, Notes, Raw, ReadOptions, excerpt, read_lines
from flaxner.data.tags import parse_tag, tag_fault

DOCUMENT = "-DOCSTART-"
DOCUMENT_MARKS = (DOCUMENT, "# newdoc")
SKIP = "\n"  # stands for the tag of a row that holds no word
SAMPLE_ROWS = 2000
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
    layout = _layout(path, options, notes)
    words: list[str] = []
    tags: list[str] = []
    intern: dict[str, str] = {}
    document, begun = None, 1
    for start, lines in read_lines(path):
        for number, line in enumerate(lines, start):
            fields = split(line)
            if len(fields) == layout.width and not layout.index and not layout.key:
                tag, word = fields[layout.tag], fields[layout.word]
            elif not fields or (len(fields) == 1 and not fields[0].strip()):
                if words:
                    yield Raw(tuple(words), tuple(tags), document, begun)
                    words, tags = [], []
                continue
            else:
                row = (DOCUMENT, "O")
                if not line.startswith(DOCUMENT_MARKS):
                    row = _row(path, number, fields, layout, words)
                word, tag = row
            if word == DOCUMENT:
                if words:
                    yield Raw(tuple(words), tuple(tags), document, begun)
                    words, tags = [], []
                document = 0 if document is None else document + 1
                continue
            if parse_tag(tag) is None or not word:
                if tag == SKIP or (line.startswith("#") and not words):
                    continue  # before a sentence # is a comment, within one a hashtag
                raise _bad_row(path, number, word, tag)
            if not words:
                begun = number
            words.append(intern.setdefault(word, word))
            tags.append(intern.setdefault(tag, tag))
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


def _bad_row(path: Path, number: int, word: str, tag: str) -> BadCorpus:
    if not word:
        return BadCorpus(path, number, "a word must not be empty")
    return BadCorpus(path, number, f"{tag_fault(tag)}: got {excerpt(tag)}")


def _layout(path: Path, options: ReadOptions, notes: Notes) -> Layout:
    """Look at the first rows: how many columns, which is the word, which the tag."""
    rows: list[tuple[int, list[str]]] = []
    begins: set[int] = set()  # rows that begin a sentence
    fresh = True
    lines = (pair for start, lines in read_lines(path) for pair in enumerate(lines, start))
    for number, line in lines:
        fields = split(line)
        if not fields or not fields[0] or fields[0].startswith(("#", DOCUMENT)):
            fresh = fresh or not fields
            continue
        if fresh:
            begins.add(len(rows))
        fresh = False
        rows.append((number, fields))
        if len(rows) == SAMPLE_ROWS:
            break
    if not rows:  # nothing, or nothing but hashtags: the plain layout, if there is any line
        return _explicit(path, options, Layout(2, 0, 1))
    width = Counter(len(fields) for _, fields in rows).most_common(1)[0][0]
    if width < 2:
        number, fields = rows[0]
        message = f"too few columns: 1, where a word and a tag are expected: {excerpt(fields[0])}"
        raise BadCorpus(path, number, message)
    sample = [fields for _, fields in rows if len(fields) == width]
    index = _counts_words(rows, begins, width)
    first = 1 if index and width > 2 else 0
    layout = Layout(width, first, -1, index and width > 2)
    if options.tag_column is None:
        layout = _tag_column(path, rows, sample, layout, notes)
    return _explicit(path, options, layout)


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
    rows: list[tuple[int, list[str]]],
    sample: list[list[str]],
    layout: Layout,
    notes: Notes,
) -> Layout:
    """The last column that holds tags; in files that number their words, the first such one."""
    columns = range(layout.word + 1, layout.width)
    shares = {c: sum(parse_tag(f[c]) is not None for f in sample) / len(sample) for c in columns}
    whole = [c for c in columns if shares[c] == 1]
    if not whole:
        values = itertools.chain.from_iterable(fields[-1].split("|") for fields in sample)
        keys = Counter(value.partition("=")[0] for value in values if "=" in value)
        for key in MISC_KEYS:
            if keys.get(key):
                notes.choices.append(f"tags are the {key}= of the last column")
                return dataclasses.replace(layout, tag=layout.width - 1, key=key)
        best = max(columns, key=lambda c: (shares[c], c), default=layout.width - 1)
        if not columns or shares[best] < 0.5:
            number, fields = rows[0]
            message = f"no column holds tags such as O and B-PER: {excerpt(' '.join(fields))}"
            raise BadCorpus(path, number, message)
        return dataclasses.replace(layout, tag=best)
    entities = [c for c in whole if any(fields[c] != "O" for fields in sample)] or whole
    chosen = entities[0] if layout.index else entities[-1]
    if len(entities) > 1:
        names = " and ".join(str(c) for c in entities)
        notes.choices.append(f"columns {names} (from 0) hold tags; {chosen} is read")
    return dataclasses.replace(layout, tag=chosen)


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
        changes: dict[str, Any] = {which: column, "key": ""}
        layout = dataclasses.replace(layout, **changes)
    return layout
