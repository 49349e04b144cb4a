"""Gold and predicted tags -> precision, recall, F1. The only module that imports `seqeval`."""

from __future__ import annotations

import dataclasses
import statistics
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
    from seqeval.metrics import accuracy_score
    from seqeval.metrics.sequence_labeling import get_entities, precision_recall_fscore_support

    for index, (a, b) in enumerate(zip(gold, predicted, strict=True)):
        if len(a) != len(b):
            raise ValueError(f"sentence {index} has {len(a)} gold tags and {len(b)} predictions")
    gold_lists, predicted_lists = [list(t) for t in gold], [list(t) for t in predicted]
    scored = sum(len(tags) for tags in predicted_lists)
    types = sorted({e[0] for tags in (gold_lists, predicted_lists) for e in get_entities(tags)})
    accuracy = float(accuracy_score(gold_lists, predicted_lists)) if scored else 0.0
    if not types:  # no entities, annotated or predicted: seqeval would divide by zero
        return NerReport(0.0, 0.0, 0.0, accuracy, {}, words_in_corpus, scored)
    options: dict[str, Any] = {"zero_division": 0}
    by_type = precision_recall_fscore_support(gold_lists, predicted_lists, average=None, **options)
    micro = precision_recall_fscore_support(gold_lists, predicted_lists, average="micro", **options)
    names = ("precision", "recall", "f1")
    per_type = {
        name: {
            **{key: float(by_type[i][row]) for i, key in enumerate(names)},
            "support": int(by_type[3][row]),
        }
        for row, name in enumerate(types)
    }
    return NerReport(
        overall_precision=float(micro[0]),
        overall_recall=float(micro[1]),
        overall_f1=float(micro[2]),
        overall_accuracy=accuracy,
        per_type=per_type,
        words_in_corpus=words_in_corpus,
        words_scored=scored,
    )


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
