"""Where things stand in a row of a column file: told by the user, or shown by all its rows."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

from flaxner.data.column_text import DOCUMENT_MARK, split
from flaxner.data.readers.column_kinds import ENTITIES, Tally, kind_of
from flaxner.data.readers.escapes import has_escapes
from flaxner.data.readers.quoting import QUOTED, quoted_as_csv
from flaxner.data.readers.source import BadCorpus, Guessed, Notes, ReadOptions, excerpt, read_lines
from flaxner.data.readers.tag_column import Choice, choose, given
from flaxner.data.readers.word_column import first_column, require_words
from flaxner.data.tags import OUTSIDE, parse_tag

SAMPLE_ROWS = 2000
KEPT_ROWS = 1 << 18  # different ones that are counted before they are taken apart
NO_WORD = ("#", DOCUMENT_MARK)  # begins of lines that are no evidence of what a column holds
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
      quoted: a field with a quotation mark is quoted as CSV has it.
      escaped: a prediction file of flaxner's, with escapes.
    """

    width: int
    word: int
    tag: int
    index: bool = False
    key: str = ""
    quoted: bool = False
    escaped: bool = False


def find_layout(path: Path, options: ReadOptions, notes: Notes) -> tuple[Layout, Choice]:
    """How many columns there are, which is the word (by the first rows), which the tag (by all).

    Raises:
      ValueError: see `BadCorpus`; no column of tags, or one named that is not there.
    """
    rows, begins = _first_rows(path)
    if not rows:  # nothing, or nothing but hashtags: the plain layout, if there is any line
        return _explicit(path, options, Layout(2, 0, 1)), Choice(None)
    width = Counter(len(fields) for _, fields in rows).most_common(1)[0][0]
    if width < 2:
        number, fields = rows[0]
        message = f"too few columns: 1, where a word and a tag are expected: {excerpt(fields[0])}"
        raise BadCorpus(path, number, message)
    counts, numbers = first_column([fields for _, fields in rows], begins, width)
    layout = _explicit(path, options, Layout(width, int(numbers), width - 1, counts))
    tally = _tally(path, width, [c for c in range(int(numbers), width) if c != layout.word])
    if options.tag_column is not None:
        choice = given(path, layout.tag, tally, options.scheme)
    else:
        layout, choice = _tag_column(path, rows[0], layout, tally, options)
    if options.word_column is None and width > 2:
        require_words(path, *_of_width(rows, begins, width), layout.word, numbers and not counts)
    notes.guessed = Guessed(
        frozenset(range(width)),
        layout.tag if options.tag_column is None else None,
        layout.word if options.word_column is None else None,
    )
    notes.choices.append(choice.why)
    if quoted_as_csv(path):
        layout = dataclasses.replace(layout, quoted=True)
        notes.choices.append(QUOTED)
    if has_escapes(path, layout.word, layout.tag, notes):
        layout = dataclasses.replace(layout, escaped=True)
    if notes.guessed.words is not None and width > 2:
        why = f", column 0 {'counts them' if counts else 'holds numbers'}" if numbers else ""
        notes.choices.append(f"the words are those of column {layout.word}{why}")
    return layout, choice


def _first_rows(path: Path) -> tuple[list[tuple[int, list[str]]], set[int]]:
    """The first rows with their lines, and which of them begin a sentence."""
    rows: list[tuple[int, list[str]]] = []
    begins: set[int] = set()
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
    return rows, begins


def _of_width(
    rows: Sequence[tuple[int, list[str]]], begins: Set[int], width: int
) -> tuple[list[list[str]], set[int]]:
    """The rows of the usual width, and which of them begin a sentence."""
    kept: list[list[str]] = []
    fresh: set[int] = set()
    for i, (_, fields) in enumerate(rows):
        if i in begins:
            fresh.add(len(kept))
        if len(fields) == width:
            kept.append(fields)
    return kept, fresh - {len(kept)}


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
                tally.add(column, [row[column].strip() for row, _ in kept], [n for _, n in kept])
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
    first_row: tuple[int, list[str]],
    layout: Layout,
    tally: Tally,
    options: ReadOptions,
) -> tuple[Layout, Choice]:
    """The layout with the column of the tags, and why it is that."""
    counts = tally.counts.items()
    entities = [int(c) for c, values in counts if kind_of(c, values) == ENTITIES]
    if not entities:
        key, *unread = _misc_keys(tally.counts.get(layout.width - 1, Counter())) or [""]
        if key:
            others = "".join(f"; {other}= holds tags too, and is not read" for other in unread)
            why = f"the tags are those of {key}= in the last column{others}"
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


def _misc_keys(counts: Counter[str]) -> list[str]:
    """The keys of a UD-style column whose values are tags, the likelier first.

    Those that hold O alone are left out, unless there is no other: then the likeliest.
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
    """Whether entities of one column lie within those of the other, as GermEval 2014 has them."""
    within, rows, kinds = 0, 0, (set[str](), set[str]())
    for _, lines in read_lines(path):
        for fields in map(split, lines):
            if len(fields) != width or fields[0].startswith("#"):
                continue
            for types, column in zip(kinds, (outer, inner), strict=True):
                types.add((parse_tag(fields[column].strip()) or ("", ""))[1])
            if fields[inner].strip() != OUTSIDE:
                rows += 1
                within += fields[outer].strip() != OUTSIDE
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
    return dataclasses.replace(layout, index=layout.index and layout.word != 0)
