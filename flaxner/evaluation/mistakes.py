"""What a model gets wrong: which types it confuses, and the sentences where it does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from flaxner.data.tags import Span, tags_to_spans
from flaxner.evaluation.predictions import Predicted

MISSED = "missed"
SPURIOUS = "no entity"
BOUNDARY = "wrong boundary"


def confusion(sentences: Iterable[Predicted]) -> Counter[tuple[str, str]]:
    """(gold type, predicted type) -> entities.

    An entity found on the very same words counts under its predicted type, one that only
    overlaps a prediction under BOUNDARY, another under MISSED; a prediction that overlaps no
    entity counts as (SPURIOUS, its type).
    """
    counts: Counter[tuple[str, str]] = Counter()
    for sentence in sentences:
        gold, predicted = tags_to_spans(sentence.gold), tags_to_spans(sentence.tags)
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
    """The columns (predicted), and the rows (annotated) with their counts; the last is SPURIOUS."""
    types = sorted({t for pair in counts for t in pair} - {MISSED, BOUNDARY, SPURIOUS})
    columns = [*types, BOUNDARY, MISSED]
    if not types:
        return columns, []
    return columns, [(kind, [counts[kind, c] for c in columns]) for kind in [*types, SPURIOUS]]


def examples(sentences: Iterable[Predicted], limit: int) -> list[Predicted]:
    """Sentences with wrong entities, in order, each with another kind of error first."""
    wrong = [
        s
        for s in sentences
        if tags_to_spans(s.gold) != tags_to_spans(s.tags) and len(s.words) <= 40
    ]
    seen: set[frozenset[tuple[str, str]]] = set()
    new: list[Predicted] = []
    rest: list[Predicted] = []
    for sentence in wrong:
        kinds = frozenset(pair for pair in confusion([sentence]) if pair[0] != pair[1])
        (rest if kinds in seen else new).append(sentence)
        seen.add(kinds)
    return (new + rest)[:limit]


def overlap(a: Span, b: Span) -> bool:
    """Whether two spans share a word."""
    return a.start < b.end and b.start < a.end
