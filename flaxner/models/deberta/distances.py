"""Rows of the relative table for the distances in a row, and scores by distance as a matrix.

Within a segment of a packed row, the distance between two positions equals the distance between
their columns. So one list of 2L - 1 distances covers all rows, heads and queries: multiplying by
the table's rows for these distances gives each position's scores by distance, and shifting line i
by i turns distances into columns. `transformers` gathers B x H x L x L indices instead.

Shapes: L positions, E = 2L - 1 distances.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def relative_rows(length: int, span: int, buckets: int = -1, max_distance: int = -1) -> np.ndarray:
    """Return the row of the relative table for query minus key = L - 1, L - 2, ..., -(L - 1).

    Args:
      length: positions L of a row.
      span: half the number of rows in the table.
      buckets: if above 0, far distances share rows by their logarithm (He et al. 2021).
      max_distance: distance at which the last bucket ends.
    """
    distances = np.arange(length - 1, -length, -1)
    if buckets > 0 and max_distance > 0:
        distances = log_buckets(distances, buckets, max_distance)
    return np.clip(distances + span, 0, 2 * span - 1).astype(np.int32)


def log_buckets(distances: np.ndarray, buckets: int, max_distance: int) -> np.ndarray:
    """Map distances to buckets: exact up to half the buckets, logarithmic beyond.

    Computed in float32, step by step as in torch: the result is rounded up, so an error in the
    last place would move a distance into another bucket.
    """
    middle = buckets // 2
    near = (distances < middle) & (distances > -middle)
    far = np.where(near, middle - 1, np.abs(distances)).astype(np.float32)
    whole = np.log(np.float32((max_distance - 1) / middle))
    logarithms = np.log(far / np.float32(middle)) / whole * np.float32(middle - 1)
    outer = (np.ceil(logarithms) + np.float32(middle)) * np.sign(distances)
    return np.where(far <= middle, distances, outer).astype(np.int64)


def by_columns(scores: jax.Array) -> jax.Array:
    """Convert scores by distance (..., L, E) to (..., L, L): [i, j] is item j - i + L - 1."""
    *lead, length, count = scores.shape
    padded = jnp.pad(scores, [(0, 0)] * (len(lead) + 1) + [(0, 1)])
    flat = padded.reshape(*lead, length * (count + 1))
    lines = flat[..., length - 1 : length - 1 + length * count].reshape(*lead, length, count)
    return lines[..., :length]


def nearest(by_distance: jax.Array, length: int) -> jax.Array:
    """Cut the distances of longer rows (H, E, K) down to those of rows with `length` positions."""
    farther = (by_distance.shape[1] + 1) // 2 - length
    return by_distance[:, farther : farther + 2 * length - 1]
