"""DistilBERT for token classification in Flax NNX (Sanh et al. 2019, arXiv:1910.01108).

It applies BERT's blocks to embeddings without token types.

Shapes: B rows, L positions, D features.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flaxner.models.distilbert.config import DistilBertConfig
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.post_norm import Embeddings
from flaxner.models.layers.token_classifier import TokenClassifier
from flaxner.models.layers.transformer import Layer

Array = jax.Array


def sinusoids(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32, **_: Any) -> Array:
    """Build a position table: sines in even columns, cosines in odd ones (Vaswani et al. 2017)."""
    rows, width = shape
    column = np.arange(width)
    angles = np.arange(rows)[:, None] / np.power(10000, 2 * (column // 2) / width)
    return jnp.asarray(np.where(column % 2, np.cos(angles), np.sin(angles)), dtype)


class DistilBertForTokenClassification(TokenClassifier):
    """DistilBERT with a linear classifier on every position.

    Args:
      config: sizes, activation, dropout rates, number of labels.
      rngs: `nnx.Rngs(seed)` for the initial weights (normal, `initializer_range`).
      compute: dtype and layout of the computation.
    """

    def __init__(
        self, config: DistilBertConfig, *, rngs: nnx.Rngs, compute: Compute | None = None
    ) -> None:
        compute = compute or Compute()
        self.embeddings = Embeddings(
            config.vocab_size,
            config.max_position_embeddings,
            0,
            config.hidden_size,
            rate=config.hidden_dropout_prob,
            epsilon=config.layer_norm_eps,
            scale=config.initializer_range,
            compute=compute,
            rngs=rngs,
            position_scale=sinusoids if config.sinusoidal_pos_embds else None,
        )
        self.layers = nnx.List(
            [Layer(config, compute, rngs=rngs) for _ in range(config.num_hidden_layers)]
        )
        super().__init__(
            config,
            compute,
            width=config.hidden_size,
            head_rate=config.hidden_dropout_prob,
            scale=config.initializer_range,
            rngs=rngs,
        )
