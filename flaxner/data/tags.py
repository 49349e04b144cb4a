"""Tags and labels: the label table of a model, and which label may follow which."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

OUTSIDE = "O"


class Span(NamedTuple):
    """Words [start, end) are an entity of a type; of characters where a reader says so."""

    start: int
    end: int
    type: str


def label_names(table: Any) -> tuple[str, ...]:
    """id2label -> the name of label 0, 1, ..., each looked up by its number.

    `transformers` fails at the first token whose label has no name; here it is said at once.

    Args:
      table: the id2label of a config.json: numbers, or their digits, -> names.

    Raises:
      ValueError: no such table, or one that leaves a label without a name.
    """
    if not isinstance(table, Mapping) or not table:
        raise ValueError(f"id2label must be a table of numbers and names: got {_brief(table)}")
    names: dict[int, Any] = {}
    for key, name in table.items():
        try:
            number = int(key)
        except (TypeError, ValueError):
            known = ", ".join(map(str, table))
            raise ValueError(f"the keys of id2label must be numbers: got {known}") from None
        if not isinstance(name, str):
            raise ValueError(f"id2label must name every label with a string: got {_brief(table)}")
        if number in names:
            raise ValueError(f"id2label must name every label once: it has {number} twice")
        names[number] = name
    absent = next((number for number in range(len(names)) if number not in names), None)
    if absent is not None:
        given = ", ".join(map(str, sorted(names)))
        raise ValueError(
            f"id2label must number its {len(names)} labels from 0 to {len(names) - 1}: it has "
            f"no name for label {absent}, its numbers are {given}"
        )
    return tuple(names[number] for number in range(len(names)))


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."


@dataclasses.dataclass(frozen=True)
class LabelScheme:
    """The label table of a model, in IOB2: label i is `tags[i]`.

    Attributes:
      tags: "O", "B-PER", "I-PER", ...; every one once.
    """

    tags: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.tags)) != len(self.tags):
            raise ValueError(f"every tag must have one label: {self.tags}")

    @classmethod
    def from_types(cls, types: Iterable[str]) -> LabelScheme:
        """O, then B- and I- of every type in alphabetical order."""
        return cls((OUTSIDE, *(f"{p}-{t}" for t in sorted(set(types)) for p in "BI")))

    @classmethod
    def from_id2label(cls, table: Mapping[Any, str]) -> LabelScheme:
        """The id2label of a Hub config.json, its keys being numbers or their digits.

        Raises:
          ValueError: as `label_names`.
        """
        return cls(label_names(table))

    def __len__(self) -> int:
        return len(self.tags)

    @property
    def types(self) -> tuple[str, ...]:
        """Entity types, in alphabetical order."""
        return tuple(sorted({tag[2:] for tag in self.tags if tag[1:2] == "-"}))

    @property
    def id2label(self) -> dict[int, str]:
        """Label -> tag."""
        return dict(enumerate(self.tags))

    @functools.cached_property
    def label2id(self) -> dict[str, int]:
        """Tag -> label."""
        return {tag: label for label, tag in enumerate(self.tags)}

    def encode(self, tags: Sequence[str]) -> np.ndarray:
        """Tags -> labels, int32.

        Raises:
          ValueError: a tag that has no label; those that have one are named.
        """
        try:
            return np.asarray([self.label2id[tag] for tag in tags], np.int32)
        except KeyError as error:
            known = ", ".join(self.tags)
            raise ValueError(f"the tag {error.args[0]!r} has no label; known: {known}") from None

    def decode(self, labels: Iterable[int]) -> list[str]:
        """Labels -> tags."""
        return [self.tags[int(label)] for label in labels]

    @functools.cached_property
    def inside(self) -> np.ndarray:
        """int32 (C,): of each label that of its type's inside tag, B-X -> I-X; else itself."""
        return self.encode(
            [tag if tag == OUTSIDE or "I-" + tag[2:] not in self.label2id else "I-" + tag[2:]
             for tag in self.tags]
        )  # fmt: skip

    @functools.cached_property
    def legal_starts(self) -> np.ndarray:
        """bool (C,): which labels may begin a sentence; in IOB2 all but I-."""
        return np.asarray([not tag.startswith("I-") for tag in self.tags])

    @functools.cached_property
    def legal_transitions(self) -> np.ndarray:
        """bool (C, C): [a, b] says whether label b may follow label a; I-X follows B-X or I-X."""
        return np.asarray(
            [[not b.startswith("I-") or a[2:] == b[2:] for b in self.tags] for a in self.tags]
        )


# Scheme -> the prefixes that begin, continue, end an entity and that stand alone in it.
SCHEMES: dict[str, dict[str, str]] = {
    "IO": {"begin": "I", "inside": "I", "end": "I", "single": "I"},
    "IOB2": {"begin": "B", "inside": "I", "end": "I", "single": "B"},
    "IOB1": {"begin": "I", "inside": "I", "end": "I", "single": "I"},
    "BIOES": {"begin": "B", "inside": "I", "end": "E", "single": "S"},
    "BILOU": {"begin": "B", "inside": "I", "end": "L", "single": "U"},
}
# Prefixes of the dialects -> those of BIOES, in which tags are compared.
PREFIXES = {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S", "M": "I", "W": "S"}
DIALECT = {"M": "I", "W": "S"}  # of BMESO and BMEWO, to BIOES
_BORDER = ("O", "")  # what stands before the first word and after the last
UNTYPED = "ENTITY"  # the type of tags that name none: B, I
_JOINTS = re.compile(r"[|,;/+&\s]+")  # what several tags of one word are joined by


@functools.lru_cache(maxsize=65536)
def parse_tag(tag: str) -> tuple[str, str] | None:
    """A tag -> (prefix, type): "B-PER" -> ("B", "PER"), "O" -> ("O", ""); None: it is no tag.

    What two readings are possible of is no tag either: I-O (outside, or a type named O), and
    several tags of one word (B-PER|B-LOC); `tag_fault` says which.
    """
    if tag == OUTSIDE:
        return _BORDER
    prefix, kind = _taken_apart(tag)
    if prefix not in PREFIXES or kind in ("", OUTSIDE) or _several(tag):
        return None
    return prefix, kind


def tag_fault(tag: str) -> str:
    """Why `parse_tag` has no answer, as the beginning of a message that ends in what came."""
    prefix, kind = _taken_apart(tag)
    if prefix in PREFIXES and kind == OUTSIDE:
        return "no type may be named O, which stands for no entity: write O for words outside"
    if _several(tag):
        return "a word must have one tag, not several"
    return "a tag must be O or a prefix such as B- and a type"


def _taken_apart(tag: str) -> tuple[str, str]:
    """Prefix and type, whatever they are; the type is empty where it should be and is not."""
    prefix, dash, kind = tag[:1], tag[1:2], tag[2:]
    if not dash:
        return prefix, UNTYPED
    return prefix, kind if dash in "-_" and kind.strip() else ""


def _several(tag: str) -> bool:
    parts = _JOINTS.split(tag)
    if len(parts) < 2:
        return False
    return all(
        part == OUTSIDE or (part[:1] in PREFIXES and part[1:2] in ("-", "_") and len(part) > 2)
        for part in parts
    )


def _parsed(tag: str) -> tuple[str, str]:
    pair = parse_tag(tag)
    if pair is None:
        raise ValueError(f"{tag_fault(tag)}: got {tag!r}")
    return pair


def _begins(before: tuple[str, str], now: tuple[str, str]) -> bool:
    """Whether an entity begins here, as the script of the CoNLL shared tasks reads it."""
    (p, kind), (q, other) = before, now
    return q != "O" and (q in "BSUW" or p in "OESLUW" or kind != other)


def to_iob2(tags: Sequence[str]) -> tuple[str, ...]:
    """Tags of any scheme -> IOB2; what is illegal is read as conlleval reads it.

    Raises:
      ValueError: a tag that is no tag.
    """
    made, before = [], _BORDER
    for tag in tags:
        now = _parsed(tag)
        prefix = "B-" if _begins(before, now) else "I-"
        made.append(OUTSIDE if now[0] == "O" else prefix + now[1])
        before = now
    return tuple(made)


def tags_to_spans(tags: Sequence[str]) -> list[Span]:
    """Tags of any scheme -> (first word, word after the last, type) of every entity."""
    spans: list[Span] = []
    start, kind = 0, ""
    for i, tag in enumerate((*to_iob2(tags), OUTSIDE)):
        if kind and not tag.startswith("I-"):
            spans.append(Span(start, i, kind))
            kind = ""
        if tag.startswith("B-"):
            start, kind = i, tag[2:]
    return spans


def spans_to_tags(spans: Iterable[Span], length: int, scheme: str = "IOB2") -> tuple[str, ...]:
    """Spans that do not overlap -> tags. IO cannot tell neighbours of one type apart.

    Raises:
      ValueError: an unknown scheme, or a span that overlaps another or leaves the sentence.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"there is no scheme {scheme!r}; known: {', '.join(SCHEMES)}")
    names, tags, touched = SCHEMES[scheme], [OUTSIDE] * length, (-1, "")
    for start, end, kind in sorted(spans):
        if not max(0, touched[0]) <= start < end <= length:
            raise ValueError(f"the span {(start, end, kind)} overlaps another or leaves the words")
        inside, last = [names["inside"]] * max(0, end - start - 2), [names["end"]]
        prefixes = [names["begin"], *inside, *last] if end - start > 1 else [names["single"]]
        if scheme == "IOB1" and touched == (start, kind):
            prefixes[0] = "B"
        tags[start:end] = [f"{prefix}-{kind}" for prefix in prefixes]
        touched = (end, kind)
    return tuple(tags)


Pair = tuple[str, str]


def tag_pairs(tags: Sequence[str]) -> Iterable[Pair]:
    """Neighbouring tags, the borders of the sentence counting as O."""
    return zip((OUTSIDE, *tags), (*tags, OUTSIDE), strict=True)


def legal(scheme: str, before: tuple[str, str], now: tuple[str, str]) -> bool:
    """Whether a tag, taken apart by `parse_tag`, may follow another in a scheme."""
    (p, kind), (q, other) = before, now
    if not {p, q} <= {"O", *SCHEMES[scheme].values(), *("B" if scheme == "IOB1" else "")}:
        return False
    follows = p not in "OESLUW" and kind == other
    if scheme in ("IO", "IOB1"):
        return q != "B" or follows
    if scheme == "IOB2":
        return q != "I" or follows
    goes_on = q not in "OBSUW"
    return goes_on == (p in "BIM") and (not goes_on or follows)


def detect_scheme(pairs: Mapping[Pair, int]) -> tuple[str, int]:
    """Counts of neighbouring tags -> (the scheme that explains most of them, the exceptions).

    Where nothing tells two schemes apart the first in `SCHEMES` is named: a corpus without B-
    is IO.
    """
    parsed = {}
    for pair, count in pairs.items():
        (p, a), (q, b) = (_parsed(tag) for tag in pair)
        parsed[pair] = ((DIALECT.get(p, p), a), (DIALECT.get(q, q), b), count)
    faults = {
        scheme: sum(count for p, q, count in parsed.values() if not legal(scheme, p, q))
        for scheme in SCHEMES
    }
    scheme = min(faults, key=lambda name: faults[name])
    return scheme, faults[scheme]
