"""The positions around each position, for convolutions over packed rows.

Shapes: B rows, L positions, D features.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array


def neighbours(x_BLD: Array, segment_ids_BL: Array, window: int) -> Array:
    """Concatenate the vectors at -window ... +window, with zeros outside the segment."""
    L = x_BLD.shape[1]
    padded_BLD = jnp.pad(x_BLD, ((0, 0), (window, window), (0, 0)))
    padded_BL = jnp.pad(segment_ids_BL, ((0, 0), (window, window)), constant_values=-1)
    views = []
    for start in range(2 * window + 1):
        same_BL1 = (padded_BL[:, start : start + L] == segment_ids_BL)[..., None]
        views.append(jnp.where(same_BL1, padded_BLD[:, start : start + L], 0.0))
    return jnp.concatenate(views, axis=-1)
