"""DeBERTa for token classification in Flax NNX (He et al. 2021, arXiv:2006.03654; v3: 2111.09543).

Attention scores are the sum of content-to-content, content-to-position and position-to-content
scores. The computation follows `transformers`' PyTorch classes; attention, relative positions and
the convolution of version 2 are limited to the segment a position belongs to, which makes packed
rows exact.

Shapes: B rows, L positions, D features.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from flaxner.models.deberta.attention import (
    Context,
    DisentangledAttention,
    FusedProjections,
    SplitProjections,
)
from flaxner.models.deberta.config import DebertaConfig, DebertaV2Config
from flaxner.models.deberta.relative import RelativeTable
from flaxner.models.layers.activations import ACTIVATIONS
from flaxner.models.layers.attention import segment_bias
from flaxner.models.layers.blocks import linear, norm, normal, table
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.dense import add_bias, product
from flaxner.models.layers.dropout import dropout
from flaxner.models.layers.neighbours import neighbours
from flaxner.models.layers.token_classifier import TokenClassifier

Array = jax.Array


class Embeddings(nnx.Module):
    """Embeddings of words and, if present, of positions and token types; projection; norm."""

    def __init__(self, config: DebertaConfig, compute: Compute, *, rngs: nnx.Rngs) -> None:
        width, scale = config.embedding_size or config.hidden_size, config.initializer_range
        self.word_embeddings = table(config.vocab_size, width, scale, rngs)
        self.position_embeddings = (
            table(config.max_position_embeddings, width, scale, rngs)
            if config.position_biased_input
            else None
        )
        self.token_type_embeddings = (
            table(config.type_vocab_size, width, scale, rngs) if config.type_vocab_size else None
        )
        self.projection = (
            linear(width, config.hidden_size, scale, compute, rngs, use_bias=False)
            if width != config.hidden_size
            else None
        )
        self.norm = norm(config.hidden_size, config.layer_norm_eps, compute, rngs)
        self.rate = config.hidden_dropout_prob

    def __call__(
        self,
        input_ids_BL: Array,
        position_ids_BL: Array,
        token_type_ids_BL: Array,
        key: Array | None,
    ) -> Array:
        """Embed tokens as x_BLD."""
        x_BLD = self.word_embeddings(input_ids_BL)
        if self.position_embeddings is not None:
            x_BLD += self.position_embeddings(position_ids_BL)
        if self.token_type_embeddings is not None:
            x_BLD += self.token_type_embeddings(token_type_ids_BL)
        if self.projection is not None:
            x_BLD = self.projection(x_BLD)
        return dropout(self.norm(x_BLD), self.rate, key)


class Convolution(nnx.Module):
    """A convolution over the embeddings, added to the first layer's output (version 2)."""

    def __init__(self, config: DebertaV2Config, compute: Compute, *, rngs: nnx.Rngs) -> None:
        width, size = config.hidden_size, config.conv_kernel_size
        draw = normal(config.initializer_range)
        self.kernel = nnx.Param(draw(rngs.params(), (size, width, width), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((width,), jnp.float32))
        self.norm = norm(width, config.layer_norm_eps, compute, rngs)
        self.activation, self.rate = config.conv_act, config.hidden_dropout_prob
        self.dtype, self.out = jnp.dtype(compute.dtype), jnp.dtype(compute.activation_dtype)
        self.tf32 = compute.tf32

    def __call__(
        self, embedded_BLD: Array, x_BLD: Array, segment_ids_BL: Array, key: Array | None
    ) -> Array:
        """Compute norm(x + activation(convolution(embedded))), convolving within segments only."""
        near_BLE = neighbours(embedded_BLD, segment_ids_BL, self.kernel.shape[0] // 2)
        kernel = self.kernel.get_value().reshape(-1, x_BLD.shape[-1])
        y_BLD = product(near_BLE, kernel, self.dtype, self.out, tf32=self.tf32)
        y_BLD = dropout(add_bias(y_BLD, self.bias.get_value()), self.rate, key)
        return self.norm(x_BLD + ACTIVATIONS[self.activation](y_BLD))


class Layer(nnx.Module):
    """One post-norm block: disentangled attention and feed-forward."""

    def __init__(
        self, config: DebertaConfig, compute: Compute, index: int, *, rngs: nnx.Rngs
    ) -> None:
        width, hidden, scale = (
            config.hidden_size,
            config.intermediate_size,
            config.initializer_range,
        )
        make = SplitProjections if isinstance(config, DebertaV2Config) else FusedProjections
        self.attention = DisentangledAttention(config, make, compute, rngs=rngs)
        self.attention_norm = norm(width, config.layer_norm_eps, compute, rngs)
        self.intermediate = linear(width, hidden, scale, compute, rngs)
        self.output = linear(hidden, width, scale, compute, rngs)
        self.output_norm = norm(width, config.layer_norm_eps, compute, rngs)
        convolves = isinstance(config, DebertaV2Config) and config.conv_kernel_size > 0
        self.convolution = (
            Convolution(config, compute, rngs=rngs)  # type: ignore[arg-type]
            if convolves and index == 0
            else None
        )
        self.activation, self.rate = config.hidden_act, config.hidden_dropout_prob

    def __call__(self, x_BLD: Array, contexts: Sequence[Context], key: Array | None) -> Array:
        """Compute the block's output x_BLD."""
        keys = (None,) * 4 if key is None else jax.random.split(key, 4)
        attended_BLD = self.attention(x_BLD, contexts, keys[0])
        y_BLD = self.attention_norm(x_BLD + dropout(attended_BLD, self.rate, keys[1]))
        hidden_BLF = ACTIVATIONS[self.activation](self.intermediate(y_BLD))
        y_BLD = self.output_norm(y_BLD + dropout(self.output(hidden_BLF), self.rate, keys[2]))
        if self.convolution is None:
            return y_BLD
        ids = [context.segment_ids_BL.reshape(-1, x_BLD.shape[1]) for context in contexts]
        return self.convolution(x_BLD, y_BLD, jnp.concatenate(ids), keys[3])


class DebertaForTokenClassification(TokenClassifier):
    """DeBERTa with a linear classifier on every position.

    Args:
      config: sizes, kinds of attention, dropout rates, number of labels; its class determines the
        version.
      rngs: `nnx.Rngs(seed)` for the initial weights (normal, `initializer_range`).
      compute: dtype and layout of the computation.
    """

    config: DebertaConfig

    def __init__(
        self, config: DebertaConfig, *, rngs: nnx.Rngs, compute: Compute | None = None
    ) -> None:
        compute = compute or Compute()
        width, scale = config.hidden_size, config.initializer_range
        self.embeddings = Embeddings(config, compute, rngs=rngs)
        self.layers = nnx.List(
            [Layer(config, compute, i, rngs=rngs) for i in range(config.num_hidden_layers)]
        )
        self.relative = (
            table(2 * config.span, width, scale, rngs) if config.relative_attention else None
        )
        self.relative_norm = (
            norm(width, config.layer_norm_eps, compute, rngs) if config.norms_relative else None
        )
        super().__init__(
            config,
            compute,
            width=width,
            head_rate=config.hidden_dropout_prob,
            scale=scale,
            rngs=rngs,
        )

    def context(self, segment_ids_BL: Array, position_ids_BL: Array) -> Context:
        """Return the attention bias, segments and relative table shared by all layers."""
        bias_B1LL = segment_bias(segment_ids_BL)
        if self.relative is None:
            return Context(bias_B1LL, segment_ids_BL, None)
        rows_E = self._rows(segment_ids_BL.shape[1])
        relative = RelativeTable.of(self.relative.embedding.get_value(), self.relative_norm, rows_E)
        return Context(bias_B1LL, segment_ids_BL, relative)

    def _rows(self, length: int) -> Array:
        """Return the row of the relative table for each distance in a row of this length."""
        if isinstance(length, int):
            return jnp.asarray(self.config.relative_rows(length))
        most = self.config.positions  # an exported program reads rows of any length up to this
        every = jnp.asarray(self.config.relative_rows(most))
        return every[jnp.arange(2 * length - 1) + (most - length)]
