"""The colours of entity types in plots and pages."""

from __future__ import annotations

from collections.abc import Iterable

# Okabe and Ito's colours: distinguishable with any colour vision, and dark enough for white text.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
USUAL = {"LOC": "#0072B2", "PER": "#D55E00", "ORG": "#009E73", "MISC": "#CC79A7"}
# Black is invisible on a dark page; a darker version of their eighth colour, yellow, replaces it.
ON_PAGES = (*COLOURS[:-1], "#B5A900", "#7F7F7F")


def page_colours(types: Iterable[str]) -> dict[str, str]:
    """Return type -> colour on a page; colours repeat if there are more types than colours."""
    names = sorted(set(types))
    usual = {name: USUAL[name] for name in names if name in USUAL}
    free = [colour for colour in ON_PAGES if colour not in usual.values()]
    others = [name for name in names if name not in USUAL]
    return {**usual, **{name: free[i % len(free)] for i, name in enumerate(others)}}
