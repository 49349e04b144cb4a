"""The colours of entity types wherever they are drawn."""

from __future__ import annotations

from collections.abc import Iterable

# Okabe and Ito's colours, told apart with any kind of colour vision; dark enough for white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
USUAL = {"LOC": "#0072B2", "PER": "#D55E00", "ORG": "#009E73", "MISC": "#CC79A7"}
# On a page that may be dark black says nothing; the eighth of their colours stands for it.
ON_PAGES = (*COLOURS[:-1], "#B5A900", "#7F7F7F")


def page_colours(types: Iterable[str]) -> dict[str, str]:
    """Type -> its colour on a page; those of more than a palette's types are used again."""
    names = sorted(set(types))
    usual = {name: USUAL[name] for name in names if name in USUAL}
    free = [colour for colour in ON_PAGES if colour not in usual.values()]
    others = [name for name in names if name not in USUAL]
    return {**usual, **{name: free[i % len(free)] for i, name in enumerate(others)}}
