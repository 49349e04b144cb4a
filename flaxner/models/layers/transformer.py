"""The post-norm transformer block of BERT and similar encoders.

Shapes: B rows, L positions, D features, F feed-forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx

from flaxner.models.layers.activations import ACTIVATIONS
from flaxner.models.layers.attention import Attention, Within
from flaxner.models.layers.blocks import linear, norm
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.dropout import dropout

Array = jax.Array


class Layer(nnx.Module):
    """One post-norm transformer block: attention and feed-forward, each x + f(x), then norm.

    Args:
      config: sizes, activation and dropout rates, named as in `post_norm.PostNormConfig`.
      compute: dtype and layout of the computation.
      rngs: `nnx.Rngs(seed)` for the initial weights.
    """

    def __init__(self, config: Any, compute: Compute, *, rngs: nnx.Rngs) -> None:
        width, scale = config.hidden_size, config.initializer_range
        self.attention = Attention(
            width,
            config.num_attention_heads,
            config.attention_probs_dropout_prob,
            scale,
            compute,
            rngs=rngs,
        )
        self.attention_norm = norm(width, config.layer_norm_eps, compute, rngs)
        self.intermediate = linear(width, config.intermediate_size, scale, compute, rngs)
        self.output = linear(config.intermediate_size, width, scale, compute, rngs)
        self.output_norm = norm(width, config.layer_norm_eps, compute, rngs)
        self.activation = config.hidden_act
        self.rate = config.hidden_dropout_prob

    def __call__(self, x_BLD: Array, contexts: Sequence[Within], key: Array | None) -> Array:
        """Compute the block's output x_BLD."""
        keys = (None, None, None) if key is None else jax.random.split(key, 3)
        attended_BLD = self.attention(x_BLD, contexts, keys[0])
        x_BLD = self.attention_norm(x_BLD + dropout(attended_BLD, self.rate, keys[1]))
        hidden_BLF = ACTIVATIONS[self.activation](self.intermediate(x_BLD))
        return self.output_norm(x_BLD + dropout(self.output(hidden_BLF), self.rate, keys[2]))
