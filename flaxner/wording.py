"""How messages and pages are worded."""

from __future__ import annotations

import re
from collections.abc import Sequence

_OF_ONE = {"are": "is", "were": "was", "have": "has"}


def number_of(count: int, what: str, of: int | None = None) -> str:
    """Return a count with what is counted: `2 texts are empty`, `1 text is empty`.

    Args:
      count: the number.
      what: begins with a plural noun; its first `are`, `were` or `have` is the noun's verb.
      of: the number that `count` are taken from: `1 of 2 texts is empty`.
    """
    if (count if of is None else of) == 1:
        what = re.sub(r"^(\w+?)(ie)?s\b", lambda m: m[1] + ("y" if m[2] else ""), what)
    if count == 1:
        what = re.sub(r"\b(are|were|have)\b", lambda m: _OF_ONE[m[0]], what, count=1)
    return f"{count:,} {what}" if of is None else f"{count:,} of {of:,} {what}"


def percent(share: float) -> str:
    """Return a share of 1 in percent, with the digits it has: 99.9% for 0.999."""
    return f"{100 * share:.10g}%"


def few(names: Sequence[str], most: int = 8) -> str:
    """Join the first names, followed by how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
