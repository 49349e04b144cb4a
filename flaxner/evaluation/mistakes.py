"""What a model gets wrong: which types it confuses, and the sentences where it does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from flaxner.data.tags import Span
from flaxner.evaluation.predictions import Predicted

MISSED = "missed"
SPURIOUS = "no entity"
BOUNDARY = "wrong boundary"


def confusion(sentences: Iterable[Predicted]) -> Counter[tuple[str, str]]:
    """Return (gold type, predicted type) -> number of entities.

    A gold entity counts under the predicted type if it was found on exactly its words, under
    BOUNDARY if a prediction only overlaps it, and under MISSED otherwise; a prediction that
    overlaps no gold entity counts as (SPURIOUS, its type).
    """
    counts: Counter[tuple[str, str]] = Counter()
    for sentence in sentences:
        gold, predicted = sentence.annotated, sentence.found
        exact = {span[:2]: span.type for span in predicted}
        for span in gold:
            overlaps = any(overlap(span, other) for other in predicted)
            counts[span.type, exact.get(span[:2], BOUNDARY if overlaps else MISSED)] += 1
        for span in predicted:
            if not any(overlap(span, other) for other in gold):
                counts[SPURIOUS, span.type] += 1
    return counts


def confusion_table(
    counts: Counter[tuple[str, str]],
) -> tuple[list[str], list[tuple[str, list[int]]]]:
    """Return columns (predicted), and rows (annotated) with their counts; SPURIOUS comes last."""
    types = sorted({t for pair in counts for t in pair} - {MISSED, BOUNDARY, SPURIOUS})
    columns = [*types, BOUNDARY, MISSED]
    if not types:
        return columns, []
    return columns, [(kind, [counts[kind, c] for c in columns]) for kind in [*types, SPURIOUS]]


def examples(sentences: Iterable[Predicted], limit: int) -> list[Predicted]:
    """Return sentences with wrong entities: first those with new kinds of errors, then the rest."""
    wrong = [s for s in sentences if len(s.words) <= 40 and s.annotated != s.found]
    seen: set[frozenset[tuple[str, str]]] = set()
    new: list[Predicted] = []
    rest: list[Predicted] = []
    for sentence in wrong:
        kinds = frozenset(pair for pair in confusion([sentence]) if pair[0] != pair[1])
        (rest if kinds in seen else new).append(sentence)
        seen.add(kinds)
    return (new + rest)[:limit]


def overlap(a: Span, b: Span) -> bool:
    """Return whether two spans share a word."""
    return a.start < b.end and b.start < a.end
