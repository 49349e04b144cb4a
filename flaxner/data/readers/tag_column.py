"""Which column holds the tags: judged by its name, its place and every value it has in the file."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from flaxner.data.readers.source import BadCorpus, excerpt
from flaxner.data.tags import OUTSIDE, parse_tag, tag_fault

# Names that published corpora give their columns, the likelier first.
WORD_COLUMNS = ("tokens", "words", "token", "word", "form")
OF_ENTITIES = ("ner_tags", "ner", "ner_tag", "named_entities")
OF_TAGS = ("tags", "tag", "labels", "label")
TAG_COLUMNS = (*OF_ENTITIES, *OF_TAGS)
OF_OTHERS = ("chunk", "pos", "upos", "xpos", "lemma", "dep", "deprel", "head", "morph")
# Types of shallow parsing in English, German, French and Indian corpora.
CHUNKS = frozenset(
    (
        *("NP", "VP", "PP", "ADVP", "ADJP", "SBAR", "PRT", "CONJP", "INTJ", "LST", "UCP", "PNP"),
        *("QP", "NX", "NC", "VC", "PC", "VN", "AP", "ADP", "CP", "VG", "VGF", "VGNF", "VGINF"),
        *("VGNN", "JJP", "RBP", "CCP", "BLK", "NEGP", "FRAGP"),
    )
)
DISTINCT = 100_000  # values of a column that are counted: words, say, are no tags
FEW = 200  # most types that a column of types without a prefix is taken to have

# What a column holds.
ENTITIES, BARE, MARKED, IDS = "entities", "types without a prefix", "other marks", "ids"
OUTSIDE_ONLY, CHUNKED, SEGMENTS, OTHER = "O only", "chunks", "segments", "something else"

Name = int | str  # a column's number, from 0, or its name


class Tally:
    """Counts of the values of every column of a file.

    Attributes:
      counts: column -> value -> rows.
      ids: columns of numbers without names.
    """

    def __init__(self) -> None:
        self.counts: dict[Name, Counter[str]] = {}
        self.ids: set[Name] = set()
        self._digests: dict[Name, int] = {}
        self._full: set[Name] = set()

    def add(self, column: Name, values: Sequence[str], counts: Sequence[int] | None = None) -> None:
        """Some more rows of a column, or different ones with the count of each."""
        if column in self._full:
            return
        counter = self.counts.setdefault(column, Counter())
        if counts is None:
            counter.update(values)
        else:
            for value, count in zip(values, counts, strict=True):
                counter[value] += count
        self._digests[column] = hash((self._digests.get(column), tuple(values)))
        if len(counter) > DISTINCT:
            self._full.add(column)

    def differing(self, columns: Iterable[Name]) -> list[Name]:
        """The columns without those that are equal to an earlier one, row for row."""
        return list({self._digests.get(c, c): c for c in reversed(list(columns))}.values())[::-1]


class Choice(NamedTuple):
    """The column that is read.

    Attributes:
      column: its number or name; None: nothing in the file could tell.
      why: what is said about it.
      bare: its values are types without a prefix, to be read in IO.
      hint: what is added where a value of it is no tag.
    """

    column: Name | None
    why: str = ""
    bare: bool = False
    hint: str = ""

    def tag(self, value: str) -> str | None:
        """The tag that a value stands for; None: it is none."""
        if self.bare and value != OUTSIDE:
            return f"I-{value}" if _is_type(value) else None
        return None if parse_tag(value) is None else value

    def fault(self, value: str) -> str:
        """Why a value is no tag, in a sentence."""
        if self.bare:
            rule = "with --scheme IO a tag must be O or a type that begins with a letter"
        else:
            rule = tag_fault(value)
        where = f" in {_called(self.column)}" if self.column is not None else ""
        return f"{rule}: got {excerpt(value)}{where}{self.hint}"


def choose(source: Path | str, tally: Tally, scheme: str | None = None) -> Choice:
    """The column that the evidence is for.

    Args:
      source: for messages.
      tally: of the columns that might hold tags, in the order of the file.
      scheme: "IO": types without a prefix are tags too.

    Raises:
      ValueError: two columns are plausible; --tag-column is asked for.
    """
    kinds = {name: kind_of(name, counter) for name, counter in tally.counts.items()}
    kinds |= {name: IDS for name in tally.ids if _rank(name) < 2}
    likely = [name for name, kind in kinds.items() if kind == ENTITIES]
    doubtful = [name for name, kind in kinds.items() if kind in (BARE, MARKED)]
    if scheme == "IO":
        inside = [c for c in likely if _only_inside(tally.counts[c])]
        bare = [c for c in kinds if kinds[c] == BARE or c in inside]
        likely, doubtful = (bare, []) if bare else (likely, doubtful)
    if not likely:
        doubtful += [name for name, kind in kinds.items() if kind == IDS]
    plausible = tally.differing(name for name in kinds if name in likely or name in doubtful)
    if plausible:
        best = _best(plausible, likely)
        top = _rank(best[0])
        best += [n for n in kinds if kinds[n] == OUTSIDE_ONLY and _outranks(n, best[-1], top)]
        if len(best) > 1:
            raise _ask(source, best, kinds, tally)
        return _chosen(source, best[0], kinds, tally, scheme)
    for kind in (OUTSIDE_ONLY, CHUNKED, SEGMENTS):
        left = [name for name in kinds if kinds[name] == kind]
        if left:
            # Of names the likeliest, of numbers the last.
            column = min(reversed(left), key=_rank)
            return _chosen(source, column, kinds, tally, scheme)
    return Choice(None)


def given(source: Path | str, column: Name, tally: Tally, scheme: str | None = None) -> Choice:
    """The column that the user names, read in the way its values ask for.

    Raises:
      ValueError: --scheme IO for tags with a prefix.
    """
    kinds = {c: kind_of(c, counter) for c, counter in tally.counts.items() if c == column}
    why = f"the tags are those of {_called(column)}, as --tag-column says"
    return _chosen(source, column, kinds, tally, scheme)._replace(why=why)


def named(column: str) -> Choice:
    """The column that its name alone is for."""
    return Choice(column, f"the tags are those of {_called(column)}, by its name alone")


def _best(plausible: list[Name], likely: list[Name]) -> list[Name]:
    """Those of the best name; of columns with numbers the last, if all before it are doubtful."""
    top = min(map(_rank, plausible))
    best = [name for name in plausible if _rank(name) == top]
    if isinstance(best[-1], int) and best[-1] in likely:
        return [name for name in best if name in likely]
    return best


def _outranks(outside: Name, best: Name, rank: int) -> bool:
    """Whether a column of O alone might be meant rather than the best one that has entities."""
    if isinstance(outside, int) and isinstance(best, int):
        return outside > best
    return _rank(outside) < rank


def _chosen(
    source: Path | str,
    column: Name,
    kinds: Mapping[Name, str],
    tally: Tally,
    scheme: str | None,
) -> Choice:
    counts = tally.counts.get(column, Counter())
    kind = kinds.get(column, OTHER)
    bare = scheme == "IO" and not _only_inside(counts) and kind not in (OUTSIDE_ONLY, IDS)
    if bare and kind in (ENTITIES, CHUNKED, SEGMENTS):
        shown = _some(v for v, _ in counts.most_common() if v != OUTSIDE and parse_tag(v))
        message = f"--scheme IO is for types without a prefix: {_called(column)} holds {shown}"
        raise BadCorpus(source, 1, message)
    others = [
        f"{_called(name)} holds {_contents(name, kinds, tally)}"
        for name in kinds
        if name != column and kinds[name] != OTHER
    ]
    only = "" if others else ", the only one that holds tags"
    why = [f"the tags are those of {_called(column)}{only}", *others]
    hint = ""
    if bare:
        why.append("its types have no prefix, so neighbours of one type are one entity")
    elif kind == BARE:
        types = _some(value for value, _ in counts.most_common() if value != OUTSIDE)
        hint = f", which holds O and few other values ({types}): --scheme IO reads bare types"
    elif kind == MARKED:
        mark = counts.most_common(1)[0][0]
        hint = f", where O is expected and most values are {excerpt(mark, 20)}"
    if kind in (CHUNKED, SEGMENTS):
        why.append(f"it holds {_contents(column, kinds, tally)}, no entities")
    elif others and not bare:
        hint += f"; {', '.join(others)}; --tag-column names another column"
    return Choice(column, "; ".join(why), bare, hint)


def _ask(
    source: Path | str, columns: Sequence[Name], kinds: Mapping[Name, str], tally: Tally
) -> BadCorpus:
    held = " and ".join(f"{_called(c)} holds {_contents(c, kinds, tally)}" for c in columns[:5])
    flags = " or ".join(f"--tag-column {column}" for column in columns[:5])
    return BadCorpus(source, 1, f"several columns may be the tags: {held}; say {flags}")


@functools.cache
def _rank(name: Name) -> int:
    """How likely a name is that of the entities' tags: 0 is the likeliest, 3 the least."""
    if isinstance(name, int):
        return 1
    lower = name.strip().lower()
    parts = set(lower.replace("-", "_").replace(" ", "_").split("_"))
    if lower in OF_ENTITIES:
        return 0
    if parts & set(OF_OTHERS):
        return 3
    return 1 if lower in OF_TAGS or parts & {"ner", "entity", "entities"} else 2


def kind_of(name: Name, counts: Counter[str]) -> str:
    """What a column holds: one of the kinds above, by the values that are not O."""
    rows, outside = counts.total(), counts[OUTSIDE]
    types: Counter[str] = Counter()
    untyped = 0
    for value, count in counts.items():
        parsed = parse_tag(value)
        if parsed is not None and value != OUTSIDE:
            types[parsed[1]] += count
            untyped += count if len(value) == 1 else 0
    tagged = types.total()
    if rows == outside:
        return OUTSIDE_ONLY
    if 2 * tagged >= rows - outside:
        if untyped == tagged and not outside:
            return SEGMENTS
        chunked = sum(n for kind, n in types.items() if kind.upper() in CHUNKS)
        return CHUNKED if 10 * chunked >= 9 * tagged or _rank(name) == 3 else ENTITIES
    mark, often = counts.most_common(1)[0]
    if mark != OUTSIDE:
        if 2 * (tagged - untyped) >= max(1, rows - often):
            return MARKED
        return BARE if _is_dense(counts) else OTHER
    if not any(_is_type(value) for value in counts if value != OUTSIDE):
        return OUTSIDE_ONLY  # O, and slips such as 0 that reading names
    return BARE if len(counts) <= FEW else OTHER


def _is_dense(counts: Counter[str]) -> bool:
    """Whether most words are in entities, as in addresses: a type outnumbers O, which is there.

    Parts of speech of one letter, of which O may be one, are no types.
    """
    rows, outside = counts.total(), counts[OUTSIDE]
    named = sum(n for value, n in counts.items() if _is_type(value) and len(value) > 1)
    return len(counts) <= FEW and 10 * outside >= rows and 2 * named >= rows - outside


def _is_type(value: str) -> bool:
    return value[:1].isalpha()


def _only_inside(counts: Mapping[str, int]) -> bool:
    """Whether all values but O are I- and a type, as IO has them."""
    tags = [value for value in counts if value != OUTSIDE]
    return bool(tags) and all(v[:1] == "I" and len(v) > 2 and parse_tag(v) for v in tags)


def _contents(column: Name, kinds: Mapping[Name, str], tally: Tally) -> str:
    kind, counts = kinds[column], tally.counts.get(column, Counter())
    if kind == IDS:
        return "ids without names"
    if kind in (OUTSIDE_ONLY, SEGMENTS):
        return kind
    if kind == MARKED:
        tags = _some(value for value, _ in counts.most_common() if parse_tag(value))
        return f"{tags} and, instead of O, {excerpt(counts.most_common(1)[0][0], 20)}"
    types: dict[Hashable, None] = {}
    for value, _ in counts.most_common():
        parsed = (OUTSIDE, value) if kind == BARE else parse_tag(value)
        if value != OUTSIDE and parsed is not None:
            types[parsed[1]] = None
    return f"{kind} ({_some(map(str, types))})"


def _some(values: Iterable[str], most: int = 4) -> str:
    """The first of some values, for a message."""
    first = list(values)
    return ", ".join(v[:40] for v in first[:most]) + (", ..." if len(first) > most else "")


def _called(column: Name | None) -> str:
    return f"column {column}" if isinstance(column, int) else excerpt(str(column), 40)
