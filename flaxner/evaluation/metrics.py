"""Gold and predicted tags -> precision, recall, F1. The only module that imports `seqeval`."""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class NerReport:
    """Entity scores, micro-averaged and by type, as seqeval (conlleval) computes them.

    Attributes:
      overall_precision, overall_recall, overall_f1: over all entities, 0 to 1.
      overall_accuracy: fraction of words with the correct tag.
      per_type: type -> precision, recall, f1, support.
      words_in_corpus, words_scored: must be equal; both are counted, not assumed.
      mode: how entities are read from tags: "conlleval", as lenient as the shared tasks' script.
    """

    overall_precision: float
    overall_recall: float
    overall_f1: float
    overall_accuracy: float
    per_type: dict[str, dict[str, float]]
    words_in_corpus: int
    words_scored: int
    mode: str = "conlleval"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as results.json holds it."""
        return dataclasses.asdict(self)


def score(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], *, words_in_corpus: int
) -> NerReport:
    """Score predicted tags against gold tags (IOB2), sentence by sentence.

    Args:
      gold: tags of every sentence.
      predicted: predicted tags, one for each gold tag.
      words_in_corpus: for the report; counted independently of the predictions.

    Raises:
      ValueError: a sentence has more or fewer predictions than words.
    """
    from seqeval.metrics.sequence_labeling import get_entities

    for index, (a, b) in enumerate(zip(gold, predicted, strict=True)):
        if len(a) != len(b):
            raise ValueError(f"sentence {index} has {len(a)} gold tags and {len(b)} predictions")
    # seqeval's own scores would look for the entities once for each of their tables.
    annotated, found = (set(get_entities([list(tags) for tags in t])) for t in (gold, predicted))
    sides = (annotated & found, found, annotated)
    by_type = [Counter(kind for kind, _, _ in side) for side in sides]
    overall = _precision_recall_f1(*map(len, sides))
    scored = sum(map(len, predicted))
    right = sum(
        a == b for pair in zip(gold, predicted, strict=True) for a, b in zip(*pair, strict=True)
    )
    return NerReport(
        overall_precision=overall["precision"],
        overall_recall=overall["recall"],
        overall_f1=overall["f1"],
        overall_accuracy=right / max(scored, 1),
        per_type={
            name: {
                **_precision_recall_f1(*(counts[name] for counts in by_type)),
                "support": by_type[2][name],
            }
            for name in sorted({*by_type[1], *by_type[2]})
        },
        words_in_corpus=words_in_corpus,
        words_scored=scored,
    )


def _precision_recall_f1(right: int, found: int, annotated: int) -> dict[str, float]:
    """Return the scores to the last bit as seqeval computes them; 0 where it would divide by 0."""
    precision, recall = right / max(found, 1), right / max(annotated, 1)
    score = 2 * precision * recall / ((precision + recall) or 1)
    return {"precision": precision, "recall": recall, "f1": score}


def entity_counts(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> np.ndarray:
    """Count the entities of every sentence; the sums give the F1 of `score`.

    Returns:
      int64 [sentences, 3]: correctly found, found, annotated.
    """
    from seqeval.metrics.sequence_labeling import get_entities

    counts = np.zeros((len(gold), 3), np.int64)
    for row, (a, b) in enumerate(zip(gold, predicted, strict=True)):
        annotated, found = set(get_entities(list(a))), set(get_entities(list(b)))
        counts[row] = len(annotated & found), len(found), len(annotated)
    return counts


def f1(totals: np.ndarray) -> np.ndarray:
    """Return the F1 of sums of `entity_counts`; 0 if nothing is annotated and nothing found.

    Args:
      totals: [..., 3].
    """
    right, found, annotated = np.moveaxis(np.asarray(totals, np.float64), -1, 0)
    size = found + annotated
    return np.divide(2 * right, size, out=np.zeros_like(size), where=size > 0)


def spread(scores: Sequence[float]) -> tuple[float, float]:
    """Return the mean and the sample standard deviation (n - 1) of seeds or folds; 0 for one."""
    return statistics.fmean(scores), statistics.stdev(scores) if len(scores) > 1 else 0.0
