"""Disentangled attention (He et al. 2021, eq. 4); scores are computed by distance, not gathered.

Shapes: B rows, L positions, H heads, K head width, D features, E = 2L - 1 distances.
Heads come first, so that one product covers all rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from flaxner.models.deberta.config import C2P, P2C, DebertaConfig, DebertaV2Config
from flaxner.models.deberta.distances import by_columns, nearest
from flaxner.models.deberta.relative import RelativeTable
from flaxner.models.layers.attention import (
    by_blocks,
    mix,
    scores,
    with_fixed_bias,
    zero_with_gradient,
)
from flaxner.models.layers.blocks import linear
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.dense import add_bias, product
from flaxner.models.layers.dropout import random_levels
from flaxner.models.layers.rounding import scaled_once

Array = jax.Array


def heads_first(x: Array, heads: int) -> Array:
    """x_...D -> x_H...K."""
    return jnp.moveaxis(x.reshape(*x.shape[:-1], heads, -1), -2, 0)


class Contents(NamedTuple):
    """Queries, keys and values of the positions of a row.

    Attributes:
      query_HBLK: queries.
      key_HBLK: keys for content queries; their bias gets no gradient.
      meeting_HBLK: the same keys for relative-position queries; their bias gets a gradient.
      value_HBLK: values.
    """

    query_HBLK: Array
    key_HBLK: Array
    meeting_HBLK: Array
    value_HBLK: Array


class Context(NamedTuple):
    """The inputs of every layer besides the hidden states.

    Attributes:
      bias_B1LL: keeps attention within segments.
      segment_ids_BL: for the convolution.
      relative: the table of relative positions; None without relative attention.
    """

    bias_B1LL: Array
    segment_ids_BL: Array
    relative: RelativeTable | None


class SplitProjections(nnx.Module):
    """Projections to queries, keys, values and relative positions, for versions 2 and 3."""

    def __init__(self, config: DebertaV2Config, compute: Compute, *, rngs: nnx.Rngs) -> None:
        width, scale = config.hidden_size, config.initializer_range
        self.query = linear(width, width, scale, compute, rngs)
        self.key = linear(width, width, scale, compute, rngs)
        self.value = linear(width, width, scale, compute, rngs)
        own = config.relative_attention and not config.share_att_key
        kinds = config.pos_att_type
        self.relative_key = (
            linear(width, width, scale, compute, rngs) if own and C2P in kinds else None
        )
        self.relative_query = (
            linear(width, width, scale, compute, rngs) if own and P2C in kinds else None
        )
        self.heads = config.num_attention_heads

    def contents(self, x_BLD: Array) -> Contents:
        """Compute queries, keys and values."""
        keys_BLD = with_fixed_bias(self.key, x_BLD)
        # Relative-position queries differ from key to key, and so does what the bias adds.
        assert self.key.bias is not None
        meeting_BLD = add_bias(keys_BLD, zero_with_gradient(self.key.bias.get_value()))
        every = (self.query(x_BLD), keys_BLD, meeting_BLD, self.value(x_BLD))
        return Contents(*(heads_first(y_BLD, self.heads) for y_BLD in every))

    def key_of(self, relative_ED: Array) -> Array:
        """Compute keys of relative positions, x_HEK."""
        layer = self.key if self.relative_key is None else self.relative_key
        return heads_first(with_fixed_bias(layer, relative_ED), self.heads)

    def query_of(self, relative_ED: Array) -> Array:
        """Compute queries of relative positions, x_HEK."""
        layer = self.query if self.relative_query is None else self.relative_query
        return heads_first(layer(relative_ED), self.heads)


class FusedProjections(nnx.Module):
    """The same for version 1: a single kernel, grouped by head, and no bias for keys."""

    def __init__(self, config: DebertaConfig, compute: Compute, *, rngs: nnx.Rngs) -> None:
        width, scale, kinds = config.hidden_size, config.initializer_range, config.pos_att_type
        self.qkv = linear(width, 3 * width, scale, compute, rngs, use_bias=False)
        self.query_bias = nnx.Param(jnp.zeros((width,), jnp.float32))
        self.value_bias = nnx.Param(jnp.zeros((width,), jnp.float32))
        relative = config.relative_attention
        self.relative_key = (
            linear(width, width, scale, compute, rngs, use_bias=False)
            if relative and C2P in kinds
            else None
        )
        self.relative_query = (
            linear(width, width, scale, compute, rngs) if relative and P2C in kinds else None
        )
        self.heads = config.num_attention_heads

    def contents(self, x_BLD: Array) -> Contents:
        """Compute queries, keys and values."""
        qkv = heads_first(self.qkv(x_BLD), self.heads)
        query_HBLK, key_HBLK, value_HBLK = jnp.split(qkv, 3, axis=-1)
        biases = (self.query_bias.get_value(), self.value_bias.get_value())
        of_query, of_value = (bias.reshape(self.heads, 1, 1, -1) for bias in biases)
        query_HBLK, value_HBLK = add_bias(query_HBLK, of_query), add_bias(value_HBLK, of_value)
        return Contents(query_HBLK, key_HBLK, key_HBLK, value_HBLK)

    def key_of(self, relative_ED: Array) -> Array:
        """Compute keys of relative positions, x_HEK."""
        assert self.relative_key is not None
        return heads_first(self.relative_key(relative_ED), self.heads)

    def query_of(self, relative_ED: Array) -> Array:
        """Compute queries of relative positions, x_HEK."""
        assert self.relative_query is not None
        return heads_first(self.relative_query(relative_ED), self.heads)


class DisentangledAttention(nnx.Module):
    """Content-to-content, content-to-position and position-to-content scores, within segments."""

    def __init__(
        self,
        config: DebertaConfig,
        projections: Callable[..., SplitProjections | FusedProjections],
        compute: Compute,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.projections = projections(config, compute, rngs=rngs)
        width = config.hidden_size
        self.output = linear(width, width, config.initializer_range, compute, rngs)
        self.kinds = config.pos_att_type if config.relative_attention else ()
        # The scale counts every kind in the settings, whether used or not.
        self.scale = 1 / math.sqrt(
            width // config.num_attention_heads * (1 + len(config.pos_att_type))
        )
        self.rate, self.relative_rate = (
            config.attention_probs_dropout_prob,
            config.hidden_dropout_prob,
        )
        self.tf32 = compute.tf32

    @jax.named_scope("attention")
    def __call__(self, x_BLD: Array, contexts: Sequence[Context], key: Array | None) -> Array:
        """Compute the attention output x_BLD; for contexts, see `by_blocks`."""
        keys = (None, None) if key is None else jax.random.split(key)
        B, L, _ = x_BLD.shape
        contents = self.projections.contents(x_BLD)
        by_distance = self._distances(contexts[0].relative, keys[1])  # of the longest rows
        shape = (contents.query_HBLK.shape[0], B, L, L)
        levels_HBLL = random_levels(shape, self.rate, keys[0])

        def attend(part: Sequence[Array], context: Context, levels: Array | None) -> Array:
            contents = Contents(*part)
            scores_HBLL = self._scores(contents, context.bias_B1LL, by_distance)
            mixed = mix(scores_HBLL, contents.value_HBLK, self.rate, levels, tf32=self.tf32)
            return jnp.moveaxis(mixed, 0, 2)

        return self.output(by_blocks(attend, contents, contexts, levels_HBLL, axis=1))

    def _distances(
        self, relative: RelativeTable | None, key: Array | None
    ) -> tuple[Array | None, Array | None]:
        """Compute scaled, reversed queries and keys of all distances, HEK; None if unused."""
        if relative is None or not self.kinds:
            return None, None
        queries_ED, keys_ED = relative.by_distance(self.relative_rate, key)
        query_HEK = key_HEK = None
        if P2C in self.kinds:
            # The rows of these scores are keys, so distances run the other way; `_scores`
            # transposes them afterwards.
            query_HEK = scaled_once(self.projections.query_of(queries_ED)[:, ::-1], self.scale)
        if C2P in self.kinds:
            key_HEK = self.projections.key_of(keys_ED)
        return query_HEK, key_HEK

    def _scores(
        self,
        contents: Contents,
        bias_B1LL: Array,
        by_distance: tuple[Array | None, Array | None],
    ) -> Array:
        """Sum all kinds of scores, HBLL."""
        length = bias_B1LL.shape[-1]
        q_HBLK = scaled_once(contents.query_HBLK, self.scale)
        scores_HBLL = scores(q_HBLK, contents.key_HBLK, tf32=self.tf32) + bias_B1LL[:, 0]
        query_HEK, key_HEK = by_distance
        if key_HEK is not None:
            near_HEK = nearest(key_HEK, length)
            scores_HBLL += by_columns(_by_distance(q_HBLK, near_HEK, self.tf32))
        if query_HEK is not None:
            near_HEK = nearest(query_HEK, length)
            met_HBLE = _by_distance(contents.meeting_HBLK, near_HEK, self.tf32)
            scores_HBLL += by_columns(met_HBLE).swapaxes(-1, -2)
        return scores_HBLL


def _by_distance(x_HBLK: Array, relative_HEK: Array, tf32: bool) -> Array:
    """Multiply every position with every distance, float32 HBLE."""
    H, B, L, K = x_HBLK.shape
    flat = x_HBLK.reshape(H, B * L, K)
    turned_HKE = relative_HEK.swapaxes(-1, -2)
    by_distance = product(flat, turned_HKE, x_HBLK.dtype, jnp.float32, tf32=tf32)
    return by_distance.reshape(H, B, L, -1)
