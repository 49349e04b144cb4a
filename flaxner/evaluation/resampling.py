"""Sentences drawn again and again from a corpus: the bootstrap (Efron and Tibshirani 1993)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

BATCH = 250  # resamplings held in memory at a time


def drawn_sums(counts: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The sums of counts over drawn sentences.

    Args:
      counts: of each sentence (N, M).
      rows: numbers of sentences, drawn ones along the last axis (..., n).

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
    """The ends of percentile bootstrap intervals over sentences; SciPy draws.

    Args:
      statistic: numbers of sentences (draws, sentences) -> what is judged (..., draws).
      sentences: of the corpus.
      n_resamples: draws in all.
      confidence: of the intervals.
      seed: of the draws.

    Returns:
      low and high ends, each of the statistic's shape without its last axis.
    """
    from scipy import stats

    if sentences < 2:  # one sentence is every sample of itself
        value = statistic(np.zeros((1, 1), np.int64))[..., 0]
        return value, value
    result = stats.bootstrap(
        (np.arange(sentences),),
        lambda rows, axis: statistic(np.moveaxis(rows, axis, -1)),
        n_resamples=n_resamples,
        batch=BATCH,
        vectorized=True,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return result.confidence_interval.low, result.confidence_interval.high
