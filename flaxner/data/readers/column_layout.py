"""The layout of a column file's rows: given by the user, or inferred from all of them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

from flaxner.data.column_text import DOCUMENT_MARK, split
from flaxner.data.readers.column_doubts import (
    note_doubts,
    require_no_header,
    require_plain_words,
)
from flaxner.data.readers.column_kinds import ENTITIES, Tally, kind_of
from flaxner.data.readers.escapes import has_escapes
from flaxner.data.readers.quoting import QUOTED, quoted_as_csv
from flaxner.data.readers.source import BadCorpus, Guessed, Notes, ReadOptions, excerpt, read_lines
from flaxner.data.readers.tag_column import Choice, choose, given
from flaxner.data.readers.values import trimmed
from flaxner.data.readers.word_column import Row, first_column, require_words
from flaxner.data.tags import OUTSIDE, parse_tag
from flaxner.wording import number_of

SAMPLE_ROWS = 2000
KEPT_ROWS = 1 << 18  # distinct rows to count before splitting them into fields
NO_WORD = ("#", DOCUMENT_MARK)  # lines with these prefixes do not show what a column holds
# UD-style files keep the tag in the last column, under one of these keys.
MISC_KEYS = ("NER", "ner", "NE", "name", "Name", "Entity")


@dataclasses.dataclass(frozen=True)
class Layout:
    """The layout of a row.

    Attributes:
      width: number of columns; 0: any number that includes the requested ones.
      word, tag: column numbers.
      index: whether the first column numbers the words (CoNLL-U's ranges are skipped).
      key: the key that holds the tag, in a column such as `NER=B-PER|SpaceAfter=No`.
      quoted: whether fields with a quotation mark are quoted as in CSV.
      escaped: whether the file is one of flaxner's prediction files, with escapes.
    """

    width: int
    word: int
    tag: int
    index: bool = False
    key: str = ""
    quoted: bool = False
    escaped: bool = False


def find_layout(path: Path, options: ReadOptions, notes: Notes) -> tuple[Layout, Choice]:
    """Find the number of columns, the word column (by the first rows) and the tag column (by all).

    Raises:
      ValueError: see `BadCorpus`; no column holds tags, or a requested column does not exist.
    """
    rows = _first_rows(path)
    if not rows:  # nothing, or only hashtags: use the plain layout
        return _explicit(path, options, Layout(2, 0, 1)), Choice(None)
    width = Counter(len(row.fields) for row in rows).most_common(1)[0][0]
    if width < 2:
        message = f"too few columns: got 1, expected a word and a tag: {excerpt(rows[0].fields[0])}"
        raise BadCorpus(path, rows[0].line, message)
    usual = [row for row in rows if len(row.fields) == width]
    counts, numbers = first_column(usual)
    layout = _explicit(path, options, Layout(width, int(numbers), width - 1, counts))
    tally = _tally(path, width, [c for c in range(int(numbers), width) if c != layout.word])
    if options.tag_column is not None:
        choice = given(path, layout.tag, tally, options.scheme)
    else:
        layout, choice = _tag_column(path, rows[0], layout, tally, options)
    if options.word_column is None and width > 2:
        require_words(path, usual, layout.word, numbers and not counts)
    require_plain_words(path, usual, layout.word)
    if not layout.key:
        require_no_header(path, usual[0], layout.word, layout.tag, choice)
    notes.guessed = Guessed(
        frozenset(range(width)),
        layout.tag if options.tag_column is None else None,
        layout.word if options.word_column is None else None,
    )
    notes.choices.append(choice.why)
    note_doubts(usual, layout.word, counts, numbers, notes)
    if quoted_as_csv(path):
        layout = dataclasses.replace(layout, quoted=True)
        notes.choices.append(QUOTED)
    if has_escapes(path, layout.word, layout.tag, notes):
        layout = dataclasses.replace(layout, escaped=True)
    if notes.guessed.words is not None and width > 2:
        why = f" (column 0 {'numbers them' if counts else 'holds numbers'})" if numbers else ""
        notes.choices.append(f"words are read from column {layout.word}{why}")
    return layout, choice


def _first_rows(path: Path) -> list[Row]:
    rows: list[Row] = []
    sentence, fresh = 0, True
    lines = (pair for start, lines in read_lines(path) for pair in enumerate(lines, start))
    for number, line in lines:
        fields = split(line)
        if not fields or not fields[0] or fields[0].startswith(NO_WORD):
            fresh = fresh or not fields
            continue
        sentence += fresh
        fresh = False
        rows.append(Row(number, sentence, fields))
        if len(rows) == SAMPLE_ROWS:
            break
    return rows


def _tally(path: Path, width: int, columns: list[int]) -> Tally:
    """Count the values of some columns over all rows of the usual width.

    Equal rows are split once; to make more rows equal, the word, which mostly differs, is cut off.
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
                tally.add(column, [trimmed(row[column]) for row, _ in kept], [n for _, n in kept])
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


def _tag_column(
    path: Path,
    first_row: Row,
    layout: Layout,
    tally: Tally,
    options: ReadOptions,
) -> tuple[Layout, Choice]:
    """Return the layout with its tag column filled in, and the choice with its reason."""
    counts = tally.counts.items()
    entities = [int(c) for c, values in counts if kind_of(c, values) == ENTITIES]
    if not entities:
        key, *unread = _misc_keys(tally.counts.get(layout.width - 1, Counter())) or [""]
        if key:
            others = "".join(f"; {other}= also holds tags and is not read" for other in unread)
            why = f"tags are read from {key}= in the last column{others}"
            hint = f" in {key}= of the last column, to which --scheme IO does not apply"
            choice = Choice(None, why, hint=hint)
            return dataclasses.replace(layout, tag=layout.width - 1, key=key), choice
    if layout.index and len(entities) == 2 and _nested(path, layout.width, *entities):
        outer, inner = entities
        why = f"tags are read from column {outer}; column {inner} holds entities nested in them"
        return dataclasses.replace(layout, tag=outer), Choice(outer, why)
    choice = choose(path, tally, options.scheme)
    if choice.column is None and layout.width == 2 and options.word_column is None:
        swapped = choose(path, _tally(path, 2, [0]), options.scheme)
        if swapped.column is not None:
            why = f"{swapped.why}; words are read from column 1"
            return dataclasses.replace(layout, word=1, tag=0), swapped._replace(why=why)
    if choice.column is None and options.word_column is None and layout.word == 0:
        first = choose(path, _tally(path, layout.width, [0]), options.scheme)
        if first.column is not None:
            message = "only column 0 holds tags, so the words are in another one: choose it with "
            raise BadCorpus(path, 1, f"{message}--word-column, and --tag-column 0")
    if choice.column is None:
        message = f"no column holds tags such as O and B-PER: {excerpt(' '.join(first_row.fields))}"
        raise BadCorpus(path, first_row.line, message)
    return dataclasses.replace(layout, tag=int(choice.column)), choice


def _misc_keys(counts: Counter[str]) -> list[str]:
    """Return the keys of a UD-style column whose values are tags, likeliest first.

    Keys that hold nothing but O are left out; if there are no others, the likeliest is returned.
    """
    values: dict[str, Counter[str]] = {}
    for field, count in counts.items():
        for pair in field.split("|"):
            key, equals, value = pair.partition("=")
            if equals and key in MISC_KEYS:
                values.setdefault(key, Counter())[value] += count
    tagged = [k for k in values if any(parse_tag(value) is not None for value in values[k])]
    keys = [key for key in MISC_KEYS if key in tagged]
    filled = [k for k in keys if any((parse_tag(value) or ("", ""))[1] for value in values[k])]
    return filled or keys[:1]


def _nested(path: Path, width: int, outer: int, inner: int) -> bool:
    """Whether the entities of one column lie within those of the other, as in GermEval 2014."""
    within, rows, kinds = 0, 0, (set[str](), set[str]())
    for _, lines in read_lines(path):
        for fields in map(split, lines):
            if len(fields) != width or fields[0].startswith("#"):
                continue
            for types, column in zip(kinds, (outer, inner), strict=True):
                types.add((parse_tag(trimmed(fields[column])) or ("", ""))[1])
            if fields[inner].strip() != OUTSIDE:
                rows += 1
                within += fields[outer].strip() != OUTSIDE
    return kinds[1] <= kinds[0] | {""} and 20 * within >= 19 * rows


def _explicit(path: Path, options: ReadOptions, layout: Layout) -> Layout:
    """Return the layout with the columns that the user requested."""
    for which in ("word", "tag"):
        value = getattr(options, f"{which}_column")
        if value is None:
            continue
        try:
            column = int(value)
        except ValueError:
            message = f"this file's columns have numbers, not names: got {which}_column {value!r}"
            raise BadCorpus(path, 1, message) from None
        if not -layout.width <= column < layout.width:
            message = f"no column {column}; the file has {number_of(layout.width, 'columns')}"
            raise BadCorpus(path, 1, message)
        changes: dict[str, Any] = {which: column % layout.width, "key": ""}
        layout = dataclasses.replace(layout, **changes)
    return dataclasses.replace(layout, index=layout.index and layout.word != 0)
