"""What a model gets wrong: its errors by kind, the types it confuses, and sentences to show."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from flaxner.data.tags import Span
from flaxner.evaluation.predictions import Predicted

MISSED, SPURIOUS, TYPE, BOUNDARY = "missed", "spurious", "wrong type", "wrong boundary"
KINDS = (MISSED, SPURIOUS, TYPE, BOUNDARY)
LONGEST = 40  # words of an example, at most


class Beside(enum.Enum):
    """Rows and columns of the confusion table that are not types, though types may be so named."""

    MISSED = MISSED
    BOUNDARY = BOUNDARY
    UNANNOTATED = "no entity"  # the row of spurious entities

    def shown(self, types: Collection[str]) -> str:
        """Return its name; in parentheses if a type has the same one."""
        name: str = self.value
        while name in types:
            name = f"({name})"
        return name


class Confusion(NamedTuple):
    """The confusion table, as pages show it.

    Attributes:
      columns: names of the columns, what was predicted.
      rows: name, what was annotated, and counts of each row; none without entities.
      boundary: name of the column of wrong boundaries.
      unannotated: name of the row of spurious entities.
    """

    columns: list[str]
    rows: list[tuple[str, list[int]]]
    boundary: str
    unannotated: str


@dataclasses.dataclass(frozen=True)
class Error:
    """An annotated entity that was missed or found differently, or a spurious one.

    Attributes:
      kinds: one of KINDS, or both TYPE and BOUNDARY.
      gold: the annotated entity; None if spurious.
      found: the model's entity; None if missed.
    """

    kinds: tuple[str, ...]
    gold: Span | None
    found: Span | None

    @property
    def span(self) -> Span:
        """The entity that the model found or, if there is none, the one it missed."""
        span = self.found or self.gold
        assert span is not None
        return span


def errors(gold: Sequence[Span], found: Sequence[Span]) -> Iterator[Error]:
    """Yield one error for each annotated entity not found as it is, and each spurious one.

    An annotated entity that several found ones overlap is compared with the one that shares the
    most words. Found entities that overlap annotated ones are not spurious.
    """
    right = set(gold) & set(found)
    missing, wrong = ([s for s in spans if s not in right] for spans in (gold, found))
    for span in missing:
        best = max(wrong, key=functools.partial(_shared, span), default=None)
        if best is None or not _shared(span, best):
            yield Error((MISSED,), span, None)
        else:
            kinds = ((TYPE, span.type != best.type), (BOUNDARY, span[:2] != best[:2]))
            yield Error(tuple(kind for kind, differs in kinds if differs), span, best)
    for other in wrong:
        if not any(_shared(span, other) for span in missing):
            yield Error((SPURIOUS,), None, other)


def _shared(a: Span, b: Span) -> int:
    """Return how many words two spans share."""
    return max(0, min(a.end, b.end) - max(a.start, b.start))


def confusion(
    sentences: Iterable[Predicted],
) -> Counter[tuple[str | Beside, str | Beside]]:
    """Return (gold type, predicted type) -> number of entities.

    A gold entity counts under the predicted type if it was found on exactly its words, under
    BOUNDARY if a prediction only overlaps it, and under MISSED otherwise; a prediction that
    overlaps no gold entity counts as (UNANNOTATED, its type).
    """
    counts: Counter[tuple[str | Beside, str | Beside]] = Counter()
    for sentence in sentences:
        right = set(sentence.annotated) & set(sentence.found)
        counts.update((span.type, span.type) for span in right)
        counts.update(map(_cell, errors(sentence.annotated, sentence.found)))
    return counts


def _cell(error: Error) -> tuple[str | Beside, str | Beside]:
    """Return the row and the column of an error in the confusion table."""
    row = error.gold.type if error.gold else Beside.UNANNOTATED
    if error.found is None:
        return row, Beside.MISSED
    return row, Beside.BOUNDARY if BOUNDARY in error.kinds else error.found.type


def confusion_table(sentences: Iterable[Predicted]) -> Confusion:
    """Return the `confusion` of sentences as a table; the row of spurious entities is last."""
    counts = confusion(sentences)
    types = sorted({t for pair in counts for t in pair if isinstance(t, str)})
    columns: list[str | Beside] = [*types, Beside.BOUNDARY, Beside.MISSED]
    rows: list[str | Beside] = [*types, Beside.UNANNOTATED] if types else []

    def named(cell: str | Beside) -> str:
        return cell.shown(types) if isinstance(cell, Beside) else cell

    return Confusion(
        [named(column) for column in columns],
        [(named(row), [counts[row, column] for column in columns]) for row in rows],
        named(Beside.BOUNDARY),
        named(Beside.UNANNOTATED),
    )


def examples(sentences: Iterable[Predicted], limit: int) -> list[Predicted]:
    """Return sentences with wrong entities: first those with new kinds of errors, then the rest.

    Sentences of more than LONGEST words are left out.
    """
    wrong = [s for s in sentences if len(s.words) <= LONGEST and s.annotated != s.found]
    seen: set[frozenset[tuple[str | Beside, str | Beside]]] = set()
    new: list[Predicted] = []
    rest: list[Predicted] = []
    for sentence in wrong:
        kinds = frozenset(pair for pair in confusion([sentence]) if pair[0] != pair[1])
        (rest if kinds in seen else new).append(sentence)
        seen.add(kinds)
    return (new + rest)[:limit]
