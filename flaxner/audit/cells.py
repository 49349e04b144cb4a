"""Locate the tags in the lines of a corpus file, so that single tags can be replaced."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from flaxner.data.readers import Raw
from flaxner.data.readers.source import EMPTY_WORD
from flaxner.data.tags import SCHEMES, Span, spans_to_tags

FIELD = re.compile(r"[^ \t\r]+")
TABBED = re.compile(r"[^\t\r]+")
MARK = "\ufeff"  # byte order mark at the beginning of a file
LIST = re.compile(r'"((?:[^"\\]|\\.)*)"\s*:\s*\[')
DECODER = json.JSONDecoder()


class Cell(NamedTuple):
    """A piece of a line."""

    line: int
    start: int
    end: int
    text: str


# Place (column, counted from the end, or key of a record) -> a cell for each word of a sentence.
Candidates = dict[int | str, list[Cell]]


def columns(lines: Sequence[str], raw: Raw) -> Candidates:
    """Return the cells of a sentence in a column file.

    Raises:
      ValueError: its words are not in the lines.
    """
    cells_of: dict[int, list[Cell]] = defaultdict(list)
    number, width = raw.line - 1, 1 << 30
    for word in raw.words:
        while True:
            if number >= len(lines):
                raise ValueError(f"the words of the sentence at line {raw.line} were not found")
            line = lines[number]
            fields = list((TABBED if "\t" in line else FIELD).finditer(line))
            number += 1
            texts = [field[0].removeprefix(MARK) for field in fields]
            if word == EMPTY_WORD or any(word in (text, text.strip(" ")) for text in texts):
                break
        width = min(width, len(fields))
        for column, field in enumerate(reversed(fields), 1):
            cells_of[column].append(Cell(number - 1, field.start(), field.end(), field[0]))
    return {column: cells for column, cells in cells_of.items() if column <= width}


def lists(lines: Sequence[str], raw: Raw) -> Candidates:
    """Return the list items of a record in a JSON Lines file, with one record per line."""
    line = lines[raw.line - 1]
    json.loads(line.removeprefix(MARK))  # fails if the record continues on the next line
    lists_of: Candidates = {}
    for head in LIST.finditer(line):
        cells, at = [], head.end()
        while True:
            at += len(line[at:]) - len(line[at:].lstrip(" \t\r,"))
            if line[at] in "][{":
                break
            end = DECODER.raw_decode(line, at)[1]
            cells.append(Cell(raw.line - 1, at, end, line[at:end]))
            at = end
        if line[at] == "]" and len(cells) == len(raw.words):
            lists_of[head[1]] = cells
    return lists_of


class TagCells:
    """The tags of a file.

    Args:
      path: path of the file, for messages.
      lines: lines of the file, changed in place.
      raws: sentences of the file, as the reader returns them.
      find: `columns` or `lists`.
      spell: how to write a new tag if all known tags are written this way.

    Raises:
      ValueError: there is no place whose cells hold the tags and nothing else.
    """

    def __init__(
        self,
        path: Path,
        lines: list[str],
        raws: Sequence[Raw],
        find: Callable[[Sequence[str], Raw], Candidates],
        spell: Callable[[str], str],
    ) -> None:
        self._path, self._lines, self._raws = path, lines, raws
        self._find, self._spell = find, spell
        self._place, self._written = self._learnt()

    def _learnt(self) -> tuple[int | str, Mapping[str, str]]:
        """Return the place of the tags, and how each tag is written there."""
        votes: Counter[int | str] = Counter()
        seen: dict[int | str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        everywhere: set[int | str] | None = None
        for raw in self._raws:
            candidates = self._candidates(raw)
            everywhere = set(candidates) if everywhere is None else everywhere & set(candidates)
            for place, cells in candidates.items():
                for tag, cell in zip(raw.tags, cells, strict=True):
                    votes[place] += cell.text in (self._spell(tag), self._spell(tag[2:]))
                    seen[place][tag].add(cell.text)
        single = [
            place
            for place in everywhere or ()
            if all(len(texts) == 1 for texts in seen[place].values())
            and (votes[place] or len(set.union(*seen[place].values())) == len(seen[place]) > 1)
        ]
        if not single:
            raise ValueError(
                f"{self._path} cannot be corrected: it has no column or list that holds only the "
                "tags; correct it with an annotation tool"
            )
        best = max(single, key=lambda place: votes[place])
        return best, {tag: next(iter(texts)) for tag, texts in seen[best].items()}

    def _candidates(self, raw: Raw) -> Candidates:
        try:
            return self._find(self._lines, raw)
        except (ValueError, IndexError) as error:
            raise ValueError(
                f"{self._path}, line {raw.line}: tags cannot be replaced there ({error})"
            ) from error

    def retag(self, number: int, old: Sequence[Span], new: Sequence[Span], scheme: str) -> int:
        """Write the tags of sentence `number`, from 0; return how many words have a new tag."""
        raw = self._raws[number]
        if scheme not in SCHEMES:
            raise ValueError(f"{self._path}: cannot write tags of the scheme {scheme}")
        before, after = (spans_to_tags(spans, len(raw.words), scheme) for spans in (old, new))
        cells = self._candidates(raw)[self._place]
        changed = 0
        for cell, was, shall in reversed(list(zip(cells, before, after, strict=True))):
            if was != shall:  # backwards, so that earlier cells keep their positions
                line = self._lines[cell.line]
                self._lines[cell.line] = line[: cell.start] + self._cell(shall) + line[cell.end :]
                changed += 1
        return changed

    def _cell(self, tag: str) -> str:
        """Return a tag as the file writes it."""
        if tag in self._written:
            return self._written[tag]
        if all(text == self._spell(known) for known, text in self._written.items()):
            return self._spell(tag)
        for known, text in self._written.items():  # person for B-person and I-person
            if known[2:] == tag[2:] and text == self._spell(tag[2:]):
                return text
        raise ValueError(f"{self._path} has no {tag}, so it is unknown how to write one")
