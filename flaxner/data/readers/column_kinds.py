"""What a column of a corpus holds, judged by its name and by all of its values in the file."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence

from flaxner.data.readers.source import excerpt
from flaxner.data.tags import OUTSIDE, in_other_notation, parse_tag

# Names of the tag columns in published corpora, likeliest first.
OF_ENTITIES = ("ner_tags", "ner", "ner_tag", "named_entities")
OF_TAGS = ("tags", "tag", "labels", "label")
OF_OTHERS = ("chunk", "pos", "upos", "xpos", "lemma", "dep", "deprel", "head", "morph")
# Chunk types in English, German, French and Indian corpora.
CHUNKS = frozenset(
    (
        *("NP", "VP", "PP", "ADVP", "ADJP", "SBAR", "PRT", "CONJP", "INTJ", "LST", "UCP", "PNP"),
        *("QP", "NX", "NC", "VC", "PC", "VN", "AP", "ADP", "CP", "VG", "VGF", "VGNF", "VGINF"),
        *("VGNN", "JJP", "RBP", "CCP", "BLK", "NEGP", "FRAGP"),
    )
)
DISTINCT = 100_000  # distinct values beyond which a column is no longer counted: it holds no tags
FEW = 200  # most distinct values of a column that is taken to hold types without a prefix

# Kinds of columns.
ENTITIES, BARE, MARKED, IDS = "entities", "types without a prefix", "other marks", "ids"
OUTSIDE_ONLY, CHUNKED, SEGMENTS, OTHER = "O only", "chunks", "segments", "something else"

Name = int | str  # a column's number, from 0, or its name


class Tally:
    """The value counts of every column of a file.

    Attributes:
      counts: column -> value -> number of rows.
      ids: columns that hold numeric ids without names.
    """

    def __init__(self) -> None:
        self.counts: dict[Name, Counter[str]] = {}
        self.ids: set[Name] = set()
        self._digests: dict[Name, int] = {}
        self._full: set[Name] = set()

    def add(self, column: Name, values: Sequence[str], counts: Sequence[int] | None = None) -> None:
        """Add more rows of a column, or distinct values with the count of each."""
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
        """Return the columns, leaving out those that equal an earlier one row for row."""
        return list({self._digests.get(c, c): c for c in reversed(list(columns))}.values())[::-1]


@functools.cache
def rank(name: Name) -> int:
    """Rank how likely a column of this name holds entity tags, from 0 (likeliest) to 3."""
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
    """Return what a column holds, one of the kinds above, judged by the values other than O."""
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
        return CHUNKED if 10 * chunked >= 9 * tagged or rank(name) == 3 else ENTITIES
    mark, often = counts.most_common(1)[0]
    if mark != OUTSIDE:
        if 2 * (tagged - untyped) >= max(1, rows - often):
            return MARKED
        if in_other_notation(value for value in counts if value != mark):
            return MARKED
        return BARE if _is_dense(counts) else OTHER
    if not any(is_type(value) for value in counts if value != OUTSIDE):
        return OUTSIDE_ONLY  # O, and typos such as 0, which the reader then reports
    return BARE if len(counts) <= FEW else OTHER


def _is_dense(counts: Counter[str]) -> bool:
    """Whether most words are in entities, as in addresses: a type outnumbers O, but O occurs.

    One-letter parts of speech, of which O may be one, do not count as types.
    """
    rows, outside = counts.total(), counts[OUTSIDE]
    named = sum(n for value, n in counts.items() if is_type(value) and len(value) > 1)
    return len(counts) <= FEW and 10 * outside >= rows and 2 * named >= rows - outside


def is_type(value: str) -> bool:
    """Whether a value could be a type without a prefix."""
    return value[:1].isalpha()


def only_inside(counts: Mapping[str, int]) -> bool:
    """Whether all values but O are I- followed by a type, as in the IO scheme."""
    tags = [value for value in counts if value != OUTSIDE]
    return bool(tags) and all(v[:1] == "I" and len(v) > 2 and parse_tag(v) for v in tags)


def contents(column: Name, kinds: Mapping[Name, str], tally: Tally) -> str:
    """Describe what a column holds, for a message."""
    kind, counts = kinds[column], tally.counts.get(column, Counter())
    if kind == IDS:
        return "ids without names"
    if kind in (OUTSIDE_ONLY, SEGMENTS):
        return kind
    if kind == MARKED:
        (mark, _), *others = counts.most_common()
        tags = [value for value, _ in others if parse_tag(value)] or [value for value, _ in others]
        return f"{some(tags)} and {excerpt(mark, 20)} instead of O"
    types: dict[Hashable, None] = {}
    for value, _ in counts.most_common():
        parsed = (OUTSIDE, value) if kind == BARE else parse_tag(value)
        if value != OUTSIDE and parsed is not None:
            types[parsed[1]] = None
    return f"{kind} ({some(map(str, types))})"


def some(values: Iterable[str]) -> str:
    """List the first few values, for a message."""
    first = list(itertools.islice(values, 5))
    return ", ".join(v[:40] for v in first[:4]) + (", ..." if len(first) > 4 else "")


def called(column: Name | None) -> str:
    """Name a column, for a message."""
    return f"column {column}" if isinstance(column, int) else excerpt(str(column), 40)
