"""The bootstrap over the sentences of a corpus (Efron and Tibshirani 1993)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

AT_ONCE = 1 << 20  # drawn sentences held in memory at a time; the draws do not depend on it


def batch_size(sentences: int) -> int:
    """Return how many resamples of a corpus of this size to hold in memory at a time."""
    return max(1, AT_ONCE // sentences)


def drawn_sums(counts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the sums of counts over drawn sentences.

    Args:
      counts: counts of each sentence (N, M).
      rows: indices of the drawn sentences, one draw along the last axis (..., n).

    Returns:
      float64 (..., M).
    """
    *shape, drawn = rows.shape
    draws, sentences = math.prod(shape), len(counts)
    flat = rows.reshape(draws, drawn) + sentences * np.arange(draws)[:, None]
    times = np.bincount(flat.ravel(), minlength=draws * sentences).reshape(draws, sentences)
    return (times.astype(np.float64) @ counts).reshape(*shape, counts.shape[1])


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    sentences: int,
    n_resamples: int,
    confidence: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of percentile bootstrap intervals over sentences; SciPy draws them.

    Args:
      statistic: sentence indices (draws, sentences) -> statistic (..., draws).
      sentences: number of sentences in the corpus.
      n_resamples: number of draws.
      confidence: confidence level of the intervals.
      seed: seed of the draws.

    Returns:
      low and high ends, each with the statistic's shape without its last axis.
    """
    from scipy import stats

    if sentences < 2:  # every resample is that one sentence
        value = statistic(np.zeros((1, 1), np.int64))[..., 0]
        return value, value
    result = stats.bootstrap(
        (np.arange(sentences),),
        lambda rows, axis: statistic(np.moveaxis(rows, axis, -1)),
        n_resamples=n_resamples,
        batch=batch_size(sentences),
        vectorized=True,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return result.confidence_interval.low, result.confidence_interval.high
