"""Determine the scheme of a model's labels, and the tag sequences that are legal in it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from flaxner.data.tags import BORDER, DIALECT, OUTSIDE, PREFIXES, SCHEMES, legal, parse_tag

ANY = "any"  # no rules: sequences are read as conlleval reads them
CHOICES = (*SCHEMES, ANY)
OUTSIDE_TOO = tuple(f"{prefix}{dash}O" for prefix in "BIESLUMW" for dash in "-_")  # in models
ENOUGH = 10  # entities after an O needed to judge a model
CLEAR = 0.75  # fraction of them that must begin the same way


class Rules(NamedTuple):
    """What is legal, as bool: first label (C,), label after label (C, C), last label (C,)."""

    starts: np.ndarray
    follows: np.ndarray
    ends: np.ndarray


@functools.cache
def rules(names: tuple[str, ...], scheme: str) -> Rules:
    """Return the rules of a scheme for a table of labels. Names that are not tags count as O."""
    count = len(names)
    if scheme == ANY:
        return Rules(np.ones(count, bool), np.ones((count, count), bool), np.ones(count, bool))
    pairs = [_pair(name) for name in names]
    return Rules(
        starts=np.asarray([legal(scheme, BORDER, now) for now in pairs]),
        follows=np.asarray([[legal(scheme, before, now) for now in pairs] for before in pairs]),
        ends=np.asarray([legal(scheme, last, BORDER) for last in pairs]),
    )


def table_scheme(names: Sequence[str]) -> str | None:
    """Return the scheme that a table of labels implies.

    Tables with E- or S- (L- or U-) labels are BIOES (BILOU), those without B- are IO. A type
    with I- but no B- is possible only in IOB1, one with B- but no I- only in IOB2.

    Returns:
      a scheme; ANY for a table that fits none; None if every type has B- and I- labels, which
      could be IOB1 or IOB2.
    """
    kinds: dict[str, set[str]] = {}
    for prefix, kind in map(_pair, names):
        if prefix != "O":
            kinds.setdefault(prefix, set()).add(kind)
    begin, inside = kinds.get("B", set()), kinds.get("I", set())
    if not kinds:
        return ANY
    if kinds.keys() <= {"B", "I"}:
        if not begin:
            return "IO"
        if inside - begin:
            return ANY if begin - inside else "IOB1"
        return "IOB2" if begin - inside else None
    for scheme, last, single in (("BIOES", "E", "S"), ("BILOU", "L", "U")):
        if kinds.keys() <= {"B", "I", last, single}:
            # If entities could not begin, or never end, it is another scheme.
            whole = inside <= begin and begin == kinds.get(last, set())
            return scheme if whole else ANY
    return ANY


def agrees(scheme: str, names: Sequence[str]) -> bool:
    """Whether a table of labels is compatible with a scheme."""
    shown = table_scheme(names)
    return scheme in (("IOB1", "IOB2", ANY) if shown is None else (shown, ANY))


def label_parts(labels: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the prefix (in BIOES) and type of each of a model's labels; outside is ("O", "").

    Labels that are not tags are types without a prefix, and count as inside. If most labels are,
    all are, so that a type such as E-mail stays whole. I-O counts as outside, because
    `transformers` drops entities of type O.
    """
    names = [label for label in labels if label not in (OUTSIDE, *OUTSIDE_TOO)]
    tagged = sum(parse_tag(name) is not None for name in names)
    bare = 2 * tagged < len(names)
    parts = {}
    for label in labels:
        prefix, kind = parse_tag(label) or ("I", label)
        if label in OUTSIDE_TOO:
            prefix, kind = BORDER
        elif bare and label != OUTSIDE:
            prefix, kind = "I", label
        parts[label] = PREFIXES.get(prefix, prefix), kind
    return parts


def shown_scheme(rows: Iterable[Sequence[str]]) -> str:
    """Tell IOB1 from IOB2 in tags that a model predicted, by how entities after O begin.

    Returns:
      "IOB1", "IOB2", or ANY if there are too few entities or they do not begin consistently.
    """
    counts = {"B": 0, "I": 0}
    for row in rows:
        for before, now in zip((OUTSIDE, *row), row, strict=False):
            prefix = _pair(now)[0]
            if prefix in counts and _pair(before)[0] == "O":
                counts[prefix] += 1
    total = sum(counts.values())
    for prefix, scheme in (("B", "IOB2"), ("I", "IOB1")):
        if total >= ENOUGH and counts[prefix] >= CLEAR * total:
            return scheme
    return ANY


def _pair(name: str) -> tuple[str, str]:
    prefix, kind = parse_tag(name) or BORDER
    return DIALECT.get(prefix, prefix), kind
