"""Views of words: a view gives each word of a sentence a key; similar occurrences share a key."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

RUN = re.compile(r"(.)\1+")


def _shapes(words: Sequence[str]) -> list[str]:
    """McDonald -> XxXx+, 1,024 -> d,d+; the first word is marked, as its capital means nothing."""
    shapes = map(_shape, words)
    return [f"^{shape}" if at == 0 else shape for at, shape in enumerate(shapes)]


@functools.lru_cache(1 << 16)  # three views need it, and words recur
def _shape(word: str) -> str:
    return RUN.sub(r"\1+", "".join(map(_letter, word)))


def _letter(letter: str) -> str:
    for is_kind, kind in ((str.isupper, "X"), (str.islower, "x"), (str.isdigit, "d")):
        if is_kind(letter):
            return kind
    return "c" if letter.isalpha() else letter


def _lower(words: Sequence[str]) -> list[str]:
    return [word.lower() for word in words]


def _beside(items: list[str], by: int) -> list[str]:
    """Return, for each item, the item `by` places further on; an empty string beyond the ends."""
    padded = ["", *items, ""]
    return padded[1 + by : 1 + by + len(items)]


def _three_shapes(words: Sequence[str]) -> list[str]:
    shapes = _shapes(words)
    beside = zip(_beside(shapes, -1), shapes, _beside(shapes, 1), strict=True)
    return ["\n".join(three) for three in beside]


def _endings(words: Sequence[str]) -> list[str]:
    pairs = zip(words, _shapes(words), strict=True)
    return [f"{word[-3:].lower()}\n{shape}" for word, shape in pairs]


VIEWS: tuple[Callable[[Sequence[str]], list[str]], ...] = (
    list,
    _lower,
    _shapes,
    _three_shapes,
    _endings,
    lambda words: _beside(_lower(words), -1),
    lambda words: _beside(_lower(words), 1),
)
