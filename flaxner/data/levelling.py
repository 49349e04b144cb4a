"""Choose the sentences of each step: an epoch's batches are planned together to be equally full.

The sentences of an epoch are sorted by length and cut into as many strata as a batch has sentences.
Each batch draws one sentence per stratum: at random in every other stratum and, in the others, such
that the batches with the fewest tokens so far get the longest sentences. So each batch is a sample
of all lengths, and all batches have about the same number of tokens and fill the same number of
rows (stratified sampling, Neyman 1934).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def levelled_order(sizes: np.ndarray, batch_size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw an order in which every `batch_size` sentences are a batch; the last may be smaller.

    Args:
      sizes: tokens of each sentence, (N,).
      batch_size: sentences per batch.
      rng: the source of randomness.

    Returns:
      the numbers 0 to N - 1, each once.
    """
    full, rest = divmod(len(sizes), batch_size)
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    batches = np.zeros((full, batch_size), np.int64)
    totals, last = np.zeros(full, np.int64), []
    for number, (low, high) in enumerate(_strata(len(sizes), batch_size)):
        drawn = rng.permutation(order[low:high])
        if len(drawn) > full:
            last.append(drawn[full])
            drawn = drawn[:full]
        if number and (batch_size - number) % 2:
            ascending = drawn[np.argsort(sizes[drawn], kind="stable")]
            drawn = np.empty_like(ascending)
            drawn[np.argsort(-totals, kind="stable")] = ascending
        batches[:, number] = drawn
        totals += sizes[drawn]
    assert len(last) == rest
    return np.concatenate([rng.permutation(batches).reshape(-1), np.asarray(last, np.int64)])


def most_in_a_batch(sizes: np.ndarray, counts: np.ndarray, batch_size: int) -> int:
    """Return an upper bound on the sum of `counts` over a batch of any `levelled_order`.

    Args:
      sizes: tokens of each sentence, (N,).
      counts: how many of something each sentence has, (N,).
      batch_size: sentences per batch.
    """
    order = np.argsort(sizes, kind="stable")[::-1]
    descending, most = sizes[order], 0
    ascending, counts = descending[::-1], counts[order]
    for low, high in _strata(len(sizes), batch_size):
        if low < high:  # including sentences as long as its shortest or longest: ties may swap
            begin = len(sizes) - np.searchsorted(ascending, descending[low], "right")
            end = len(sizes) - np.searchsorted(ascending, descending[high - 1], "left")
            most += int(counts[begin:end].max())
    return most


def _strata(sentences: int, batch_size: int) -> Iterator[tuple[int, int]]:
    """Yield each stratum's bounds; those that also serve the last, smaller batch have one more."""
    full, rest = divmod(sentences, batch_size)
    more = np.zeros(batch_size, np.int64)
    more[np.arange(rest) * batch_size // max(rest, 1)] = 1
    ends = np.cumsum(full + more)
    return zip((ends - full - more).tolist(), ends.tolist(), strict=True)
