"""The names that data sets use for the same entity type; the only table of them."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

# The CoNLL name of a type, then its other names.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "PER": ("PERSON", "PERS"),
    "LOC": ("LOCATION",),
    "ORG": ("ORGANIZATION", "ORGANISATION", "CORPORATION"),
    "MISC": ("MISCELLANEOUS",),
}
# Types that are part of one of those: the same colour in a plot, but never the same in a score.
PARTS: dict[str, str] = {"COMPANY": "ORG", "GROUP": "ORG", "GPE": "LOC"}

# What tools write where the type of an entity is missing.
MISSING = ("null", "none", "nan", "undefined", "_")


def spelling(name: str) -> str:
    """Normalise what data sets spell differently: case, encoding, separators between words."""
    plain = unicodedata.normalize("NFKC", name)
    return "".join(c for c in plain.upper() if c not in " -_" and unicodedata.category(c) != "Cf")


def conll_name(name: str) -> str:
    """Return the CoNLL name of a type, or its normalised spelling if it has none."""
    plain = spelling(name)
    return next((conll for conll, others in SYNONYMS.items() if plain in (conll, *others)), plain)


def broad_name(name: str) -> str:
    """Return the CoNLL name of a type or of the type it is part of; else the name as it is."""
    broad = PARTS.get(spelling(name), conll_name(name))
    return broad if broad in SYNONYMS else name


def match_names(
    ours: Iterable[str], theirs: Iterable[str]
) -> tuple[dict[str, str], list[tuple[list[str], list[str]]]]:
    """Pair two lists of type names one to one: equal names, then spellings, then synonyms.

    Returns:
      (our name -> their name, groups of names that allow several pairings and are left unpaired).
    """
    left, right = sorted(set(ours)), sorted(set(theirs))
    pairs: dict[str, str] = {}
    unsure: list[tuple[list[str], list[str]]] = []
    keys: tuple[Callable[[str], str], ...] = (str, spelling, conll_name)
    for key in keys:
        groups: Mapping[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
        for side, names in enumerate((left, right)):
            for name in names:
                groups[key(name)][side].append(name)
        both = [(a, b) for a, b in groups.values() if a and b]
        single = {a[0]: b[0] for a, b in both if len(a) == len(b) == 1}
        pairs |= single
        left = [name for name in left if name not in single]
        right = [name for name in right if name not in single.values()]
        unsure = [(a, b) for a, b in both if len(a) > 1 or len(b) > 1]
    return pairs, unsure
