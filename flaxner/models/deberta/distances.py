"""Rows of the relative table for the distances in a row, and scores by distance laid as a matrix.

Within a segment of a packed row, the distance of two positions is the distance of their columns.
So one list of 2L - 1 distances serves all rows, heads and queries: a product with the table's
rows for these distances gives, for each position, its score by distance, and a shift of each
line by its number turns distances into columns. `transformers` gathers B x H x L x L indices
instead.

Shapes: L positions, E = 2L - 1 distances.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def relative_rows(length: int, span: int, buckets: int, max_distance: int) -> np.ndarray:
    """The row of the relative table for query minus key = L - 1, L - 2, ..., -(L - 1).

    Args:
      length: positions L of a row.
      span: half of the table's rows.
      buckets: far distances share rows by their logarithm if above 0 (He et al. 2021).
      max_distance: the distance that the last bucket ends at.
    """
    distances = np.arange(length - 1, -length, -1)
    if buckets > 0 and max_distance > 0:
        distances = log_buckets(distances, buckets, max_distance)
    return np.clip(distances + span, 0, 2 * span - 1).astype(np.int32)


def log_buckets(distances: np.ndarray, buckets: int, max_distance: int) -> np.ndarray:
    """Distances up to half of the buckets as they are, farther ones by their logarithm.

    In float32, step by step as torch does it: the result is rounded up, so an error in the last
    place would move a distance into another bucket.
    """
    middle = buckets // 2
    near = (distances < middle) & (distances > -middle)
    far = np.where(near, middle - 1, np.abs(distances)).astype(np.float32)
    whole = np.log(np.float32((max_distance - 1) / middle))
    logarithms = np.log(far / np.float32(middle)) / whole * np.float32(middle - 1)
    outer = (np.ceil(logarithms) + np.float32(middle)) * np.sign(distances)
    return np.where(far <= middle, distances, outer).astype(np.int64)


def by_columns(scores: jax.Array) -> jax.Array:
    """Scores by distance (..., L, E) -> (..., L, L): line i, column j has item j - i + L - 1."""
    *lead, length, count = scores.shape
    padded = jnp.pad(scores, [(0, 0)] * (len(lead) + 1) + [(0, 1)])
    flat = padded.reshape(*lead, length * (count + 1))
    lines = flat[..., length - 1 : length - 1 + length * count].reshape(*lead, length, count)
    return lines[..., :length]


def nearest(by_distance: jax.Array, length: int) -> jax.Array:
    """Of the distances in longer rows (H, E, K) those in rows of so many positions."""
    farther = (by_distance.shape[1] + 1) // 2 - length
    return by_distance[:, farther : farther + 2 * length - 1]
