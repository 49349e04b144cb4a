"""ModernBERT for token classification in Flax NNX (Warner et al. 2024, arXiv:2412.13663).

It has pre-norm blocks without biases, a gated feed-forward (Shazeer 2020), rotary positions (Su et
al. 2021) and, in most layers, attention to a local window. The computation follows `transformers`'
PyTorch `ModernBertForTokenClassification`; attention is limited to the segment a position belongs
to, and distances are measured between columns, which is the same within a segment.

Shapes: B rows, L positions, H heads, K head width, D features, F feed-forward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from flaxner.models.layers.activations import ACTIVATIONS
from flaxner.models.layers.attention import (
    attend_by_tiles,
    by_blocks,
    by_tiles,
    join_heads,
    mix,
    scores,
    segment_bias,
)
from flaxner.models.layers.blocks import Initializer, linear, norm, table, truncated
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.dropout import dropout, random_levels
from flaxner.models.layers.rounding import scaled_once
from flaxner.models.layers.token_classifier import TokenClassifier
from flaxner.models.modernbert.config import FULL, SLIDING, ModernBertConfig

Array = jax.Array
OfKind = tuple[Array, Array, Array, Array]  # for one kind of attention: bias, cos, sin, segments
Context = dict[str, OfKind]


def _initializer(config: ModernBertConfig, kind: str) -> Initializer:
    width = {
        "in": config.initializer_range,
        "out": config.initializer_range / math.sqrt(2.0 * config.num_hidden_layers),
        "classifier": config.hidden_size**-0.5,
    }[kind]
    return truncated(width, config.initializer_cutoff_factor)


def rotations(position_ids_BL: Array, width: int, theta: float) -> tuple[Array, Array]:
    """Compute cosines and sines of the rotary positions, (B, 1, L, K/2) float32 each."""
    frequencies = 1.0 / theta ** (jnp.arange(0, width, 2, dtype=jnp.float32) / width)
    angles = position_ids_BL[:, None, :, None].astype(jnp.float32) * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def rotate(x_BHLK: Array, cos: Array, sin: Array) -> Array:
    """Rotate the pairs (x_i, x_{i + K/2}) by their angles, in float32."""
    one, two = jnp.split(x_BHLK.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([one * cos - two * sin, two * cos + one * sin], axis=-1)
    return turned.astype(x_BHLK.dtype)


class RotaryAttention(nnx.Module):
    """Multi-head self-attention with rotary positions."""

    def __init__(
        self, config: ModernBertConfig, kind: str, compute: Compute, *, rngs: nnx.Rngs
    ) -> None:
        width, bias = config.hidden_size, config.attention_bias
        of_in, of_out = _initializer(config, "in"), _initializer(config, "out")
        self.qkv = linear(width, 3 * width, of_in, compute, rngs, use_bias=bias)
        self.output = linear(width, width, of_out, compute, rngs, use_bias=bias)
        self.heads, self.rate = config.num_attention_heads, config.attention_dropout
        self.compute = compute
        self.window = config.local_attention // 2 if kind == SLIDING else None

    @jax.named_scope("attention")
    def __call__(self, x_BLD: Array, contexts: Sequence[OfKind], key: Array | None) -> Array:
        """Compute the attention output x_BLD, with dropout; for contexts, see `by_blocks`."""
        keys = (None, None) if key is None else jax.random.split(key)
        qkv = self.qkv(x_BLD)
        _, L, D = x_BLD.shape
        if by_tiles(self.compute, contexts, L, D // self.heads, key, self.window):
            mixed_BLD = self._by_tiles(qkv, contexts[0], keys[0])
        else:
            mixed_BLD = self._plainly(qkv, contexts, keys[0])
        return dropout(self.output(mixed_BLD), self.rate, keys[1])

    def _plainly(self, qkv: Array, contexts: Sequence[OfKind], key: Array | None) -> Array:
        B, L, _ = qkv.shape
        levels = random_levels((B, self.heads, L, L), self.rate, key)
        return by_blocks(self._attend, [qkv], contexts, levels)

    def _by_tiles(self, qkv: Array, context: OfKind, key: Array | None) -> Array:
        _, cos, sin, ids_BL = context
        B, L, _ = qkv.shape
        heads = qkv.reshape(B, L, 3, self.heads, -1)
        cos, sin = cos.swapaxes(1, 2), sin.swapaxes(1, 2)
        turned = [rotate(heads[:, :, i], cos, sin) for i in range(2)]
        given = (*turned, heads[:, :, 2])
        return attend_by_tiles(self.compute, given, ids_BL, self.rate, key, self.window)

    def _attend(self, arrays: Sequence[Array], context: OfKind, levels: Array | None) -> Array:
        bias_B1LL, cos, sin, _ = context
        B, L, width = arrays[0].shape
        qkv = arrays[0].reshape(B, L, 3, self.heads, width // (3 * self.heads))
        q_BHLK, k_BHLK, v_BHLK = (qkv[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
        q_BHLK, k_BHLK = rotate(q_BHLK, cos, sin), rotate(k_BHLK, cos, sin)
        q_BHLK = scaled_once(q_BHLK, q_BHLK.shape[-1] ** -0.5)
        scores_BHLL = scores(q_BHLK, k_BHLK, tf32=self.compute.tf32) + bias_B1LL
        return join_heads(mix(scores_BHLL, v_BHLK, self.rate, levels, tf32=self.compute.tf32))


class Layer(nnx.Module):
    """One pre-norm block: x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(
        self, config: ModernBertConfig, compute: Compute, index: int, *, rngs: nnx.Rngs
    ) -> None:
        width, hidden, bias = config.hidden_size, config.intermediate_size, config.mlp_bias

        def of_width() -> nnx.LayerNorm:
            return norm(width, config.norm_eps, compute, rngs, use_bias=config.norm_bias)

        self.kind = config.layer_types[index]
        # The first layer needs none: the embeddings are normalised just before it.
        self.attention_norm = of_width() if index else None
        self.attention = RotaryAttention(config, self.kind, compute, rngs=rngs)
        self.mlp_norm = of_width()
        of_in, of_out = _initializer(config, "in"), _initializer(config, "out")
        self.intermediate = linear(width, 2 * hidden, of_in, compute, rngs, use_bias=bias)
        self.output = linear(hidden, width, of_out, compute, rngs, use_bias=bias)
        self.activation, self.rate = config.hidden_activation, config.mlp_dropout

    def __call__(self, x_BLD: Array, contexts: Sequence[Context], key: Array | None) -> Array:
        """Compute the block's output x_BLD."""
        keys = (None, None) if key is None else jax.random.split(key)
        normed_BLD = x_BLD if self.attention_norm is None else self.attention_norm(x_BLD)
        of_kind = [context[self.kind] for context in contexts]
        x_BLD = x_BLD + self.attention(normed_BLD, of_kind, keys[0])
        value_BLF, gate_BLF = jnp.split(self.intermediate(self.mlp_norm(x_BLD)), 2, axis=-1)
        hidden_BLF = ACTIVATIONS[self.activation](value_BLF) * gate_BLF
        return x_BLD + self.output(dropout(hidden_BLF, self.rate, keys[1]))


class ModernBertForTokenClassification(TokenClassifier):
    """ModernBERT with a dense layer, a norm and a linear classifier on every position.

    Args:
      config: sizes, activations, dropout rates, layer types, number of labels.
      rngs: `nnx.Rngs(seed)` for the initial weights (truncated normal).
      compute: dtype and layout of the computation.
    """

    config: ModernBertConfig

    def __init__(
        self, config: ModernBertConfig, *, rngs: nnx.Rngs, compute: Compute | None = None
    ) -> None:
        compute = compute or Compute()
        width = config.hidden_size

        def of_width(compute: Compute) -> nnx.LayerNorm:
            return norm(width, config.norm_eps, compute, rngs, use_bias=config.norm_bias)

        self.embeddings = table(config.vocab_size, width, _initializer(config, "in"), rngs)
        self.embeddings_norm = of_width(compute)
        self.layers = nnx.List(
            [Layer(config, compute, i, rngs=rngs) for i in range(config.num_hidden_layers)]
        )
        self.final_norm = of_width(compute)
        self.head_dense = linear(
            width,
            width,
            _initializer(config, "out"),
            Compute(),
            rngs,
            use_bias=config.classifier_bias,
        )
        self.head_norm = of_width(Compute())
        super().__init__(
            config,
            compute,
            width=width,
            head_rate=config.classifier_dropout,
            scale=_initializer(config, "classifier"),
            rngs=rngs,
        )

    def embed(
        self,
        input_ids_BL: Array,
        position_ids_BL: Array,
        token_type_ids_BL: Array,
        key: Array | None,
    ) -> Array:
        """Embed tokens as x_BLD; positions enter in attention, and there are no token types."""
        x_BLD = self.embeddings_norm(self.embeddings(input_ids_BL))
        return dropout(x_BLD, self.config.embedding_dropout, key)

    def context(self, segment_ids_BL: Array, position_ids_BL: Array) -> Context:
        """Return bias B1LL, cosines, sines and segments for each kind of attention."""
        config = self.config
        width = config.hidden_size // config.num_attention_heads
        columns = jnp.arange(segment_ids_BL.shape[1])
        near_LL = jnp.abs(columns[:, None] - columns[None]) <= config.local_attention // 2
        bias_B1LL = segment_bias(segment_ids_BL)
        local_B1LL = jnp.where(near_LL, bias_B1LL, jnp.finfo(jnp.float32).min)
        full = rotations(position_ids_BL, width, config.global_rope_theta)
        near = rotations(position_ids_BL, width, config.local_rope_theta)
        return {
            FULL: (bias_B1LL, *full, segment_ids_BL),
            SLIDING: (local_B1LL, *near, segment_ids_BL),
        }

    def finish(self, x_BLD: Array) -> Array:
        """Apply the norm after the last layer."""
        return self.final_norm(x_BLD)

    def head(self, x_BLD: Array, key: Array | None) -> Array:
        """Compute logits_BLC, float32: dense, activation, norm, dropout, classifier."""
        activation = ACTIVATIONS[self.config.classifier_activation]
        x_BLD = self.head_norm(activation(self.head_dense(x_BLD.astype(jnp.float32))))
        return super().head(x_BLD, key)
