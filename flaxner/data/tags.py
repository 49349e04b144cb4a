"""Tags of words: their schemes, the entities they encode, and their legal sequences."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

OUTSIDE = "O"


class Span(NamedTuple):
    """An entity: words [start, end) and a type; in some readers, characters [start, end)."""

    start: int
    end: int
    type: str


# Scheme -> the prefixes that begin, continue and end an entity, and that of a one-word entity.
SCHEMES: dict[str, dict[str, str]] = {
    "IO": {"begin": "I", "inside": "I", "end": "I", "single": "I"},
    "IOB2": {"begin": "B", "inside": "I", "end": "I", "single": "B"},
    "IOB1": {"begin": "I", "inside": "I", "end": "I", "single": "I"},
    "BIOES": {"begin": "B", "inside": "I", "end": "E", "single": "S"},
    "BILOU": {"begin": "B", "inside": "I", "end": "L", "single": "U"},
}
# Prefixes of all schemes -> those of BIOES, in which tags are compared.
PREFIXES = {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S", "M": "I", "W": "S"}
DIALECT = {"M": "I", "W": "S"}  # prefixes of BMESO and BMEWO -> those of BIOES
BORDER = ("O", "")  # before the first word and after the last
UNTYPED = "ENTITY"  # the type of tags without one: B, I
# Tags in other notations: b-per, B:PER, B- (without a type); PER-B. The dashes are those of texts.
_PREFIXED = re.compile(r"([BIESLUMW])[-_:./\u2010-\u2015\u2212].*", re.IGNORECASE | re.DOTALL)
_SUFFIXED = re.compile(r".+[-_:./\u2010-\u2015\u2212]([BIESLUMW])", re.IGNORECASE | re.DOTALL)
_JOINTS = re.compile(r"[|,;/+&\s]+")  # separators between several tags of one word


@functools.lru_cache(maxsize=65536)
def parse_tag(tag: str) -> tuple[str, str] | None:
    """Split a tag into prefix and type: "B-PER" -> ("B", "PER"), "O" -> ("O", "").

    Returns None if the text is not a tag. Ambiguous ones are not tags either: I-O (outside, or a
    type named O) and several tags for one word (B-PER|B-LOC); `tag_fault` explains which it is.
    """
    if tag == OUTSIDE:
        return BORDER
    prefix, kind = _taken_apart(tag)
    if prefix not in PREFIXES or kind in ("", OUTSIDE) or _several(tag):
        return None
    return prefix, kind


def tag_fault(tag: str) -> str:
    """Explain why `parse_tag` returned None, as the start of a message that ends in the value."""
    prefix, kind = _taken_apart(tag)
    if prefix in PREFIXES and kind == OUTSIDE:
        return "no type may be named O, which means no entity: write O for words outside entities"
    if _several(tag):
        return "a word must have one tag, not several"
    return "a tag must be O, or a prefix such as B- and a type"


def in_other_notation(types: Iterable[str]) -> bool:
    """Whether what seem to be types without a prefix are tags, written PER-B or b-per, say."""
    types = list(types)
    for pattern, fewest in ((_PREFIXED, 1), (_SUFFIXED, 2)):  # a type may end like vitamin-B
        letters = set()
        for kind in types:
            match = pattern.fullmatch(kind)
            letters.add(match[1].upper() if match else "")
            if match is None:
                break
        if "" not in letters and len(letters & {"B", "I"}) >= fewest:
            return True
    return False


def only_like_tags(types: Iterable[str]) -> bool:
    """Whether some of these are like tags, but all must be types: B_cell beside T_cell.

    Some value is a word that is not a tag, and no two values are tags of one type.
    """
    types = set(types) - {OUTSIDE}
    parsed = {kind: parse_tag(kind) for kind in types}
    words = [kind for kind in types if not parsed[kind] and kind[:1].isalpha() and len(kind) > 1]
    kinds = [pair[1] for pair in parsed.values() if pair is not None]
    apart = len(set(kinds)) == len(kinds) and UNTYPED not in kinds
    return bool(words and kinds) and apart and not in_other_notation(types)


def _taken_apart(tag: str) -> tuple[str, str]:
    """Return prefix and type, whatever they are; the type is empty if it is missing."""
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
    """Whether an entity begins here according to conlleval, the CoNLL shared tasks' script."""
    (p, kind), (q, other) = before, now
    return q != "O" and (q in "BSUW" or p in "OESLUW" or kind != other)


def to_iob2(tags: Sequence[str]) -> tuple[str, ...]:
    """Convert tags of any scheme to IOB2; illegal sequences are read as conlleval reads them.

    Raises:
      ValueError: a tag is invalid.
    """
    return tuple(map(_iob2_after, (OUTSIDE, *tags), tags))


@functools.lru_cache(maxsize=65536)
def _iob2_after(before: str, tag: str) -> str:
    """Return the IOB2 tag for a tag of any scheme, given the tag before it."""
    now = _parsed(tag)
    if now == BORDER:
        return OUTSIDE
    return f"{'B' if _begins(_parsed(before), now) else 'I'}-{now[1]}"


def tags_to_spans(tags: Sequence[str]) -> list[Span]:
    """Return (first word, word after the last, type) of every entity; tags are of any scheme."""
    spans: list[Span] = []
    start, before = 0, BORDER
    for i, tag in enumerate((*tags, OUTSIDE)):
        now = _parsed(tag)
        begins = _begins(before, now)
        if before != BORDER and (begins or now == BORDER):
            spans.append(Span(start, i, before[1]))
        if begins:
            start = i
        before = now
    return spans


def spans_to_tags(spans: Iterable[Span], length: int, scheme: str = "IOB2") -> tuple[str, ...]:
    """Convert spans that do not overlap to tags. IO cannot separate adjacent spans of one type.

    Raises:
      ValueError: an unknown scheme, or a span overlaps another or extends beyond the sentence.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"unknown scheme {scheme!r}; choose from: {', '.join(SCHEMES)}")
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
    """Pair adjacent tags, with O before the first and after the last."""
    return zip((OUTSIDE, *tags), (*tags, OUTSIDE), strict=True)


def legal(scheme: str, before: tuple[str, str], now: tuple[str, str]) -> bool:
    """Whether one tag may follow another in a scheme, both as returned by `parse_tag`."""
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
    """Detect the scheme from counts of adjacent tags; return it and the number of exceptions.

    If several schemes fit equally well, the first in `SCHEMES` is returned: a corpus without B-
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
