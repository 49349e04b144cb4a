"""Significance tests for the difference between two sets of predictions.

Over sentences: approximate randomization (Noreen 1989, "Computer-Intensive Methods for Testing
Hypotheses"), which swaps the two systems' predictions for a sentence, and percentile bootstrap
intervals (Efron and Tibshirani 1993). With several seeds, a sentence is swapped, or drawn, in all
of them at once, and the score is the mean over the seeds. Over seeds: an exact permutation test of
their scores. SciPy does the drawing and counting.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from flaxner.evaluation.metrics import entity_counts, f1
from flaxner.evaluation.predictions import Predicted
from flaxner.evaluation.resampling import batch_size, bootstrap, drawn_sums


@dataclasses.dataclass(frozen=True)
class Difference:
    """The difference between the F1 of B and of A, and its significance.

    Attributes:
      scores_a, scores_b: F1 of every seed, 0 to 1.
      difference: mean F1 of B minus mean F1 of A.
      interval_a, interval_b: bootstrap intervals of the mean F1, over sentences.
      interval: bootstrap interval of the difference, over sentences.
      p_sentences: two-sided p-value of the randomization over sentences.
      p_seeds: two-sided p-value over seeds; None with fewer than two on each side.
      smallest_p_seeds: smallest `p_seeds` that is possible with this number of seeds.
      paired: whether both have the same seeds, which were compared one by one.
      confidence: confidence level of the intervals.
      sentences: number of sentences compared.
    """

    scores_a: tuple[float, ...]
    scores_b: tuple[float, ...]
    difference: float
    interval_a: tuple[float, float]
    interval_b: tuple[float, float]
    interval: tuple[float, float]
    p_sentences: float
    p_seeds: float | None
    smallest_p_seeds: float | None
    paired: bool
    confidence: float
    sentences: int

    @property
    def differ(self) -> bool:
        """Whether the difference is significant over the sentences, and over the seeds if several.

        Seeds that are too few to be significant must all agree, which gives the smallest p-value.
        """
        alpha = 1 - self.confidence
        if self.p_seeds is not None and self.p_seeds > max(alpha, self.smallest_p_seeds or 0.0):
            return False
        return self.p_sentences <= alpha


def compare(
    a: Sequence[Sequence[Predicted]],
    b: Sequence[Sequence[Predicted]],
    *,
    paired: bool = True,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
    names: Sequence[object] | None = None,
) -> Difference:
    """Compare two systems on one annotated corpus.

    Args:
      a, b: the predictions of each seed, of one or more seeds.
      paired: whether the i-th predictions of `a` and `b` have the same seed.
      resamples: number of randomizations and of bootstrap samples.
      confidence: confidence level of the intervals and the verdict, between 0 and 1.
      seed: seed of the resampling.
      names: what messages call the predictions of `a` and then those of `b`.

    Raises:
      ValueError: the sides have different numbers of seeds; there are no sentences; or words or
        gold tags are not the same throughout.
    """
    if len(a) != len(b) or not a:
        raise ValueError(f"both must have equally many seeds: got {len(a)} and {len(b)}")
    _check_same([*a, *b], names or [f"predictions {i}" for i in range(len(a) + len(b))])
    counts_a, counts_b = _counts(a), _counts(b)
    options = (resamples, confidence, seed)
    scores_a, scores_b = f1(counts_a.sum(1)), f1(counts_b.sum(1))
    p_seeds, smallest = _over_seeds(scores_a, scores_b, paired)
    interval_a, interval_b, interval = intervals(counts_a, counts_b, *options)
    return Difference(
        tuple(map(float, scores_a)),
        tuple(map(float, scores_b)),
        float(scores_b.mean() - scores_a.mean()),
        interval_a,
        interval_b,
        interval,
        _randomization(counts_a, counts_b, resamples, seed),
        p_seeds,
        smallest,
        paired,
        confidence,
        counts_a.shape[1],
    )


def intervals(
    a: np.ndarray,
    b: np.ndarray,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
    """Return percentile bootstrap intervals of the mean F1 of A, of B, and of their difference.

    Args:
      a, b: `entity_counts` of every seed, [seeds, sentences, 3].
      n_resamples: number of draws; each serves all three intervals.
      confidence: confidence level of the intervals.
      seed: seed of the draws.
    """
    seeds, sentences, _ = a.shape
    counts = np.concatenate([a, b]).transpose(1, 0, 2).reshape(sentences, -1)

    def statistics(rows: np.ndarray) -> np.ndarray:
        totals = drawn_sums(counts, rows).reshape(*rows.shape[:-1], 2, seeds, 3)
        of_a, of_b = np.moveaxis(f1(totals).mean(-1), -1, 0)
        return np.stack([of_a, of_b, of_b - of_a])

    low, high = bootstrap(statistics, sentences, n_resamples, confidence, seed)
    of_a, of_b, of_both = ((float(x), float(y)) for x, y in zip(low, high, strict=True))
    return of_a, of_b, of_both


def _randomization(a: np.ndarray, b: np.ndarray, resamples: int, seed: int) -> float:
    """Return the two-sided p-value when the systems swap their predictions for a sentence."""
    from scipy import stats

    sums_a, sums_b = a.sum(1), b.sum(1)
    change = (b - a)[:, (a != b).any((0, 2))].astype(np.float64)  # other swaps change nothing
    places = change.shape[1]

    def difference(swapped: np.ndarray, axis: int) -> np.ndarray:
        moved = np.tensordot(np.moveaxis(swapped, axis, -1), change, (-1, 1))
        return (f1(sums_b - moved) - f1(sums_a + moved)).mean(-1)

    if places < 2:
        return 1.0
    if 2**places <= resamples:  # every way to swap
        every = (np.zeros(places), np.ones(places))
        options = {"permutation_type": "samples", "vectorized": True, "n_resamples": resamples}
        result = stats.permutation_test(every, lambda x, y, axis: difference(x, axis), **options)
        return float(result.pvalue)
    rng = np.random.default_rng(seed)
    result = stats.monte_carlo_test(
        np.zeros(places),
        lambda size: rng.integers(0, 2, size, np.int8).astype(np.float64),
        difference,
        n_resamples=resamples,
        batch=batch_size(places),
        vectorized=True,
    )
    return float(result.pvalue)


def _over_seeds(a: np.ndarray, b: np.ndarray, paired: bool) -> tuple[float | None, float | None]:
    """Return the exact p-value of the seeds' scores, and the smallest possible one."""
    from scipy import stats

    if len(a) < 2:
        return None, None
    possible = 2 ** len(a) if paired else math.comb(2 * len(a), len(a))
    result = stats.permutation_test(
        (a, b),
        lambda x, y, axis: np.mean(y, axis) - np.mean(x, axis),
        permutation_type="samples" if paired else "independent",
        n_resamples=100_000,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue), 2 / min(possible, 100_000)


def _counts(seeds: Sequence[Sequence[Predicted]]) -> np.ndarray:
    """Return counts [seeds, sentences, 3]."""
    return np.stack([entity_counts([s.gold for s in p], [s.tags for s in p]) for p in seeds])


def _check_same(predictions: Sequence[Sequence[Predicted]], names: Sequence[object]) -> None:
    first, *others = predictions
    if not first:
        raise ValueError("there are no sentences to compare")
    for name, other in zip(names[1:], others, strict=True):
        if apart := _apart(first, other):
            raise ValueError(
                f"{names[0]} and {name} must be predictions on one annotated corpus: {apart}"
            )


def _apart(a: Sequence[Predicted], b: Sequence[Predicted]) -> str:
    """Say how two corpora differ, and where first; nothing if they do not."""
    parts = [] if len(a) == len(b) else [f"they have {len(a):,} and {len(b):,} sentences"]
    for number, (x, y) in enumerate(zip(a, b, strict=False), 1):
        if (x.words, x.gold) != (y.words, y.gold):
            parts.append(f"in sentence {number:,}, {_first_apart(x, y)}")
            break
    return "; ".join(parts)


def _first_apart(x: Predicted, y: Predicted) -> str:
    for what, here, there in (("word", x.words, y.words), ("tag", x.gold, y.gold)):
        for number, (s, t) in enumerate(zip(here, there, strict=False), 1):
            if s != t:
                return f"{what} {number} is {s!r} and {t!r}"
    return f"they have {len(x.words)} and {len(y.words)} words"
