"""The colours of entity types in plots and pages."""

from __future__ import annotations

from collections.abc import Iterable

# Okabe and Ito's colours: distinguishable with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
USUAL = {"LOC": "#0072B2", "PER": "#D55E00", "ORG": "#009E73", "MISC": "#CC79A7"}
BROWN = "#9C6048"
# Black is invisible on a dark page, where brown, as distinguishable from the others, replaces it.
ON_PAGES = (*COLOURS[:-1], BROWN, "#7F7F7F")
# The lines of charts: with a contrast of at least 3:1 on light and dark cards (WCAG 2, 1.4.11).
LINES = (*USUAL.values(), BROWN)


def page_colours(types: Iterable[str]) -> dict[str, str]:
    """Return type -> colour on a page; colours repeat if there are more types than colours."""
    names = sorted(set(types))
    usual = {name: USUAL[name] for name in names if name in USUAL}
    free = [colour for colour in ON_PAGES if colour not in usual.values()]
    others = [name for name in names if name not in USUAL]
    return {**usual, **{name: free[i % len(free)] for i, name in enumerate(others)}}
