"""DistilBERT for token classification in Flax NNX (Sanh et al. 2019, arXiv:1910.01108).

It is BERT's network without token types.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flaxner.models.distilbert.config import DistilBertConfig
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.post_norm import PostNormClassifier

Array = jax.Array


def sinusoids(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32, **_: Any) -> Array:
    """Build a position table: sines in even columns, cosines in odd ones (Vaswani et al. 2017)."""
    rows, width = shape
    column = np.arange(width)
    angles = np.arange(rows)[:, None] / np.power(10000, 2 * (column // 2) / width)
    return jnp.asarray(np.where(column % 2, np.cos(angles), np.sin(angles)), dtype)


class DistilBertForTokenClassification(PostNormClassifier):
    """DistilBERT with a linear classifier on every position.

    Args:
      config: sizes, activation, dropout rates, number of labels.
      rngs: `nnx.Rngs(seed)` for the initial weights (normal, `initializer_range`).
      compute: dtype and layout of the computation.
    """

    def __init__(
        self, config: DistilBertConfig, *, rngs: nnx.Rngs, compute: Compute | None = None
    ) -> None:
        drawn = sinusoids if config.sinusoidal_pos_embds else None
        super().__init__(config, rngs=rngs, compute=compute, position_scale=drawn)
