"""The post-norm transformer block of BERT and most of its kin.

Shapes: B rows, L positions, D features, F feed-forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import jax
from flax import nnx

from flaxner.models.layers.activations import ACTIVATIONS
from flaxner.models.layers.attention import Attention, Within
from flaxner.models.layers.blocks import linear, norm
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.dropout import dropout

Array = jax.Array


class BlockSizes(Protocol):
    """What a block asks of an encoder's settings, by the names of `transformers`."""

    @property
    def hidden_size(self) -> int:
        """Features D."""

    @property
    def num_attention_heads(self) -> int:
        """Heads."""

    @property
    def intermediate_size(self) -> int:
        """Features F between the two feed-forward layers."""

    @property
    def hidden_act(self) -> str:
        """Activation of the feed-forward, a name in ACTIVATIONS."""

    @property
    def hidden_dropout_prob(self) -> float:
        """Dropout of what is added to the residual."""

    @property
    def attention_probs_dropout_prob(self) -> float:
        """Dropout of the attention probabilities."""

    @property
    def initializer_range(self) -> float:
        """Width of the normal distribution of fresh kernels."""

    @property
    def layer_norm_eps(self) -> float:
        """Added to the variance in layer norms."""


class Layer(nnx.Module):
    """One post-norm transformer block: attention and feed-forward, each x + f(x), then norm."""

    def __init__(self, config: BlockSizes, compute: Compute, *, rngs: nnx.Rngs) -> None:
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
        """The block's output x_BLD."""
        keys = (None, None, None) if key is None else jax.random.split(key, 3)
        attended_BLD = self.attention(x_BLD, contexts, keys[0])
        x_BLD = self.attention_norm(x_BLD + dropout(attended_BLD, self.rate, keys[1]))
        hidden_BLF = ACTIVATIONS[self.activation](self.intermediate(x_BLD))
        return self.output_norm(x_BLD + dropout(self.output(hidden_BLF), self.rate, keys[2]))
