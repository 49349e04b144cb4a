"""Find the tag column, judged by its name, its position and all of its values in the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from flaxner.data.readers.column_kinds import (
    BARE,
    CHUNKED,
    ENTITIES,
    IDS,
    MARKED,
    OF_ENTITIES,
    OF_TAGS,
    OTHER,
    OUTSIDE_ONLY,
    SEGMENTS,
    Name,
    Tally,
    called,
    contents,
    is_type,
    kind_of,
    only_inside,
    rank,
    some,
)
from flaxner.data.readers.source import BadCorpus, excerpt
from flaxner.data.tags import OUTSIDE, in_other_notation, only_like_tags, parse_tag, tag_fault

# Names of columns in published corpora, likeliest first.
WORD_COLUMNS = ("tokens", "words", "token", "word", "form")
TAG_COLUMNS = (*OF_ENTITIES, *OF_TAGS)


class Choice(NamedTuple):
    """The column to read.

    Attributes:
      column: its number or name; None if the file does not show it.
      why: the note about it.
      bare: whether its values are types without a prefix, to be read as IO.
      hint: added to the message about a value that is not a tag.
      types: its values, if they have no prefix, with the number of rows of each.
    """

    column: Name | None
    why: str = ""
    bare: bool = False
    hint: str = ""
    types: Mapping[str, int] = MappingProxyType({})

    def tag(self, value: str) -> str | None:
        """Return the tag that a value stands for; None if it is not a tag."""
        if self.bare and value != OUTSIDE:
            return f"I-{value}" if is_type(value) else None
        return None if parse_tag(value) is None else value

    def fault(self, value: str) -> str:
        """Explain in one sentence why a value is not a tag."""
        if self.bare:
            rule = "with --scheme IO a tag must be O or a type that begins with a letter"
        else:
            rule = tag_fault(value)
        where = f" in {called(self.column)}" if self.column is not None else ""
        pieces = "; X may mark the later pieces of words, which must be joined" * (value == "X")
        return f"{rule}: got {excerpt(value)}{where}{self.hint}{pieces}"


def choose(source: Path | str, tally: Tally, scheme: str | None = None) -> Choice:
    """Choose the column that the evidence points to.

    Args:
      source: for messages.
      tally: counts of the columns that could hold tags, in the order of the file.
      scheme: "IO": types without a prefix are tags too.

    Raises:
      ValueError: two columns are plausible; --tag-column must choose.
    """
    kinds = {name: kind_of(name, counter) for name, counter in tally.counts.items()}
    kinds |= {name: IDS for name in tally.ids if rank(name) < 2}
    likely = [name for name, kind in kinds.items() if kind == ENTITIES]
    doubtful = [name for name, kind in kinds.items() if kind in (BARE, MARKED)]
    if scheme == "IO":
        inside = [c for c in likely if only_inside(tally.counts[c])]
        bare = [
            c for c in kinds if kinds[c] == BARE or c in inside or _holds_types(c, kinds, tally)
        ]
        likely, doubtful = (bare, []) if bare else (likely, doubtful)
    if not likely:
        doubtful += [name for name, kind in kinds.items() if kind == IDS]
    plausible = tally.differing(name for name in kinds if name in likely or name in doubtful)
    if plausible:
        best = _best(plausible, likely)
        top = rank(best[0])
        best += [n for n in kinds if kinds[n] == OUTSIDE_ONLY and _outranks(n, best[-1], top)]
        if len(best) > 1:
            raise _ask(source, best, kinds, tally)
        return _chosen(source, best[0], kinds, tally, scheme)
    for kind in (OUTSIDE_ONLY, CHUNKED, SEGMENTS):
        left = [name for name in kinds if kinds[name] == kind]
        if left:
            # The column with the likeliest name, or the last one if columns have numbers.
            column = min(reversed(left), key=rank)
            return _chosen(source, column, kinds, tally, scheme)
    return Choice(None)


def given(source: Path | str, column: Name, tally: Tally, scheme: str | None = None) -> Choice:
    """Return the column that the user requested, read as its values require.

    Raises:
      ValueError: --scheme IO with tags that have a prefix.
    """
    kinds = {c: kind_of(c, counter) for c, counter in tally.counts.items() if c == column}
    why = f"tags are read from {called(column)}, as --tag-column says"
    return _chosen(source, column, kinds, tally, scheme)._replace(why=why)


def named(column: str) -> Choice:
    """Return a column that was chosen only by its name."""
    return Choice(column, f"tags are read from {called(column)}, chosen only by its name")


def _best(plausible: list[Name], likely: list[Name]) -> list[Name]:
    """Return the best-named columns; if numbered and the last is likely, only the likely ones."""
    top = min(map(rank, plausible))
    best = [name for name in plausible if rank(name) == top]
    if isinstance(best[-1], int) and best[-1] in likely:
        return [name for name in best if name in likely]
    return best


def _outranks(outside: Name, best: Name, top: int) -> bool:
    """Whether a column with only O could be meant instead of the best column with entities."""
    if isinstance(outside, int) and isinstance(best, int):
        return outside > best
    return rank(outside) < top


def _holds_types(column: Name, kinds: Mapping[Name, str], tally: Tally) -> bool:
    """Whether a column whose values are mostly like tags can only hold types, such as B_cell."""
    return kinds[column] == ENTITIES and only_like_tags(tally.counts[column])


def _chosen(
    source: Path | str,
    column: Name,
    kinds: Mapping[Name, str],
    tally: Tally,
    scheme: str | None,
) -> Choice:
    counts = tally.counts.get(column, Counter())
    kind = kinds.get(column, OTHER)
    bare = scheme == "IO" and not only_inside(counts) and kind not in (OUTSIDE_ONLY, IDS)
    types = some(value for value, _ in counts.most_common() if value != OUTSIDE)
    foreign = (bare or kind == BARE) and in_other_notation(v for v in counts if v != OUTSIDE)
    alike = kind == ENTITIES and only_like_tags(counts)
    if bare and not alike and (foreign or kind in (ENTITIES, CHUNKED, SEGMENTS)):
        raise BadCorpus(source, 1, _not_bare(column, counts, types))
    others = [
        f"{called(name)} holds {contents(name, kinds, tally)}"
        for name in kinds
        if name != column and kinds[name] != OTHER
    ]
    only = "" if others else ", the only one that holds tags"
    why = [f"tags are read from {called(column)}{only}", *others]
    hint = ""
    if bare:
        why.append("its types have no prefix, so adjacent words of one type are one entity")
    elif alike and _are_often_types(counts):
        hint = f", which may hold types ({types}): --scheme IO reads bare types"
    elif foreign:
        hint = f", which seems to hold tags ({types}), not types"
    elif kind == BARE:
        hint = f", which holds O and few other values ({types}): --scheme IO reads bare types"
    elif kind == MARKED:
        mark = counts.most_common(1)[0][0]
        hint = f", where O is expected and most values are {excerpt(mark, 20)}"
    if kind in (CHUNKED, SEGMENTS):
        why.append(f"it holds {contents(column, kinds, tally)}, not entities")
    elif others and not bare:
        hint += f"; {', '.join(others)}; --tag-column selects another column"
    return Choice(column, "; ".join(why), bare, hint, counts if bare else {})


def _are_often_types(counts: Counter[str]) -> bool:
    """Whether values that are not tags are too frequent to be typing errors."""
    rows = counts.total() - counts[OUTSIDE]
    return 10 * sum(n for value, n in counts.items() if parse_tag(value) is None) >= rows


def _not_bare(column: Name, counts: Counter[str], types: str) -> str:
    """Explain why --scheme IO does not apply to a column."""
    rule = f"--scheme IO is for types without a prefix: {called(column)} holds"
    tags = some(v for v, _ in counts.most_common() if v != OUTSIDE and parse_tag(v))
    if not tags or any(parse_tag(value) is None for value in counts):
        return f"{rule} tags ({types}), which must be written like B-PER"
    return f"{rule} {tags}, which are tags, as B-PER is; write I- before types that look like tags"


def _ask(
    source: Path | str, columns: Sequence[Name], kinds: Mapping[Name, str], tally: Tally
) -> BadCorpus:
    held = " and ".join(f"{called(c)} holds {contents(c, kinds, tally)}" for c in columns[:5])
    flags = " or ".join(f"--tag-column {column}" for column in columns[:5])
    return BadCorpus(source, 1, f"several columns could be the tags: {held}; choose {flags}")
