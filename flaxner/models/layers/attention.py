"""Multi-head self-attention within the segments of packed rows.

Shapes: B rows, L positions, H heads, K head width, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from flaxner.data.packing import Blocks
from flaxner.models.layers.blocks import linear
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.dense import Dense, add_bias, product
from flaxner.models.layers.dropout import dropped, random_levels, threshold
from flaxner.models.layers.fused import attend, attend_on_tpu
from flaxner.models.layers.merging import gradient_in_memory
from flaxner.models.layers.rounding import scaled_once
from flaxner.models.layers.tile_kind import Kind

Array = jax.Array


def segment_bias(segment_ids_BL: Array) -> Array:
    """Compute the attention bias_B1LL: 0 within a segment, the lowest float32 elsewhere.

    Padding (segment 0) attends to padding, so no row of the softmax is fully masked.
    """
    same_B1LL = segment_ids_BL[:, None, :, None] == segment_ids_BL[:, None, None, :]
    return jnp.where(same_B1LL, 0.0, jnp.finfo(jnp.float32).min)


class Within(NamedTuple):
    """The arrays that keep attention within segments.

    Attributes:
      bias_B1LL: see `segment_bias`.
      ids_BL: segment ids.
    """

    bias_B1LL: Array
    ids_BL: Array

    @classmethod
    def of(cls, segment_ids_BL: Array) -> Within:
        """Build both from a batch's segment ids."""
        return cls(segment_bias(segment_ids_BL), segment_ids_BL)


def split_heads(x_BLD: Array, heads: int) -> Array:
    """x_BLD -> x_BHLK."""
    B, L, D = x_BLD.shape
    return x_BLD.reshape(B, L, heads, D // heads).transpose(0, 2, 1, 3)


def join_heads(x_BHLK: Array) -> Array:
    """x_BHLK -> x_BLD."""
    B, H, L, K = x_BHLK.shape
    return x_BHLK.transpose(0, 2, 1, 3).reshape(B, L, H * K)


def scores(q_BHLK: Array, k_BHLK: Array, *, tf32: bool = False) -> Array:
    """Multiply all queries with all keys, float32 scores_BHLL; the caller scales."""
    # In the dtype of the activations: if those are float32, heads are too small for narrower
    # operands to be worth the conversion.
    return product(q_BHLK, k_BHLK.swapaxes(-1, -2), k_BHLK.dtype, jnp.float32, tf32=tf32)


def mix(
    scores_BHLL: Array, v_BHLK: Array, rate: float, levels: Array | None, *, tf32: bool = False
) -> Array:
    """Compute softmax(scores) times the values, mixed_BHLK (Vaswani et al. 2017, eq. 1).

    `levels`, drawn by `random_levels` for the shape of the scores, decide what dropout zeroes.
    """
    narrow = v_BHLK.dtype
    with jax.named_scope("softmax"):
        probs_BHLL = jax.nn.softmax(scores_BHLL, axis=-1).astype(narrow)
    return product(dropped(probs_BHLL, rate, levels), v_BHLK, narrow, narrow, tf32=tf32)


def with_fixed_bias(layer: Dense, x_BLD: Array) -> Array:
    """Apply the linear layer for keys, with no gradient to its bias.

    A key bias adds the same number to all scores of a query, which softmax ignores: its true
    gradient is zero, but rounding leaves noise that Adam would amplify to full steps.
    """
    assert layer.bias is not None
    y_BLD = product(x_BLD, layer.kernel.get_value(), layer.dtype, layer.out, tf32=layer.tf32)
    return add_bias(y_BLD, jax.lax.stop_gradient(layer.bias.get_value()))


def zero_with_gradient(x: Array) -> Array:
    """Return zeros with the gradient of x; adding them restores a gradient that was stopped."""
    return x - jax.lax.stop_gradient(x)


def divided(x_BL: Array, blocks: Blocks | None) -> tuple[Array, ...]:
    """Split a batch into its whole rows and the blocks of its other rows, each block as a row."""
    if blocks is None or blocks.whole >= x_BL.shape[0]:
        return (x_BL,)
    parts_bl = x_BL[blocks.whole :].reshape(-1, blocks.length)
    return (x_BL[: blocks.whole], parts_bl) if blocks.whole else (parts_bl,)


def by_blocks(
    attend: Callable[[Sequence[Array], Any, Array | None], Array],
    arrays: Sequence[Array],
    contexts: Sequence[Any],
    levels: Array | None,
    axis: int = 0,
) -> Array:
    """Compute attention over whole rows, and within the blocks of other rows.

    No segment crosses a block, so the result is the same as over whole rows.

    Args:
      attend: (arrays, context, levels) -> mixed_BLD, for any number and length of rows.
      arrays: queries, keys, values and any other arguments, each with rows and positions at
        `axis` and `axis + 1`.
      contexts: one for each part returned by `divided`; the first array of each is the bias.
      levels: see `random_levels`; rows at `axis`, pairs of positions last. They are drawn for
        whole rows, so dropout zeroes the same pairs however rows are divided.
      axis: the axis of rows in the arrays; positions are on the next one.

    Returns:
      mixed_BLD.
    """
    B, L = arrays[0].shape[axis : axis + 2]
    mixed, first = [], 0
    for context in contexts:
        b, _, length, _ = jax.tree.leaves(context)[0].shape
        end = first + b * length // L
        taken = (jax.lax.slice_in_dim(x, first, end, axis=axis) for x in arrays)
        part = [x.reshape(*x.shape[:axis], b, length, *x.shape[axis + 2 :]) for x in taken]
        own = None
        if levels is not None:
            own = _within(jax.lax.slice_in_dim(levels, first, end, axis=axis), length, axis)
        mixed.append(attend(part, context, own).reshape(end - first, L, -1))
        first = end
    assert first == B
    return jnp.concatenate(mixed)


def _within(levels: Array, length: int, axis: int) -> Array:
    """Keep the pairs within each block of a row; blocks become rows: (..., length, length)."""
    places = range(0, levels.shape[-1], length)
    own = [levels[..., i : i + length, i : i + length] for i in places]
    shape = list(own[0].shape)
    shape[axis] *= len(own)
    return jnp.stack(own, axis=axis + 1).reshape(shape)


# Minimum row length for tiled attention.
SHORTEST = {"gpu": 128, "tpu": 384}
WIDTHS = (16, 32, 64, 128)  # head widths that the kernels support


def by_tiles(
    compute: Compute,
    contexts: Sequence[Any],
    length: int,
    width: int,
    key: Array | None,
    window: int | None = None,
) -> bool:
    """Return whether to use tiled attention for rows of this length and heads of this width.

    The TPU kernel supports neither windows nor dropout. No kernel handles rows of arbitrary length,
    which exported programs need, or of several lengths, which `by_blocks` needs.
    """
    if not isinstance(length, int) or compute.kernels not in SHORTEST or len(contexts) > 1:
        return False
    if compute.kernels == "tpu" and not (key is None and window is None):
        return False
    return length >= SHORTEST[compute.kernels] and length % 128 == 0 and width in WIDTHS


def attend_by_tiles(
    compute: Compute,
    qkv_BLHK: Sequence[Array],
    ids_BL: Array,
    rate: float,
    key: Array | None,
    window: int | None = None,
) -> Array:
    """Compute the attention output x_BLD, within segments and optionally a window on both sides."""
    q_BLHK, k_BLHK, v_BLHK = qkv_BLHK
    ids_BL = ids_BL.astype(jnp.int32)  # callers pass masks of any dtype
    dropped_levels = threshold(rate) if key is not None else 0
    if compute.kernels == "tpu":
        mixed_BLHK = attend_on_tpu(q_BLHK, k_BLHK, v_BLHK, ids_BL)
    else:
        words: tuple[Array, ...] = ()
        if key is not None and dropped_levels:
            # Rows come first, so a row's random words do not depend on the number of rows.
            words = tuple(jax.random.bits(key, (ids_BL.shape[0], 2), jnp.uint32).T)
        mixed_BLHK = attend(Kind(window, dropped_levels), q_BLHK, k_BLHK, v_BLHK, ids_BL, words)
    return mixed_BLHK.reshape(*mixed_BLHK.shape[:2], -1)


class Attention(nnx.Module):
    """Multi-head self-attention within segments, as in BERT."""

    def __init__(
        self,
        width: int,
        heads: int,
        rate: float,
        scale: float,
        compute: Compute,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.query = linear(width, width, scale, compute, rngs)
        self.key = linear(width, width, scale, compute, rngs)
        self.value = linear(width, width, scale, compute, rngs)
        self.output = linear(width, width, scale, compute, rngs)
        self.heads, self.rate, self.compute = heads, rate, compute

    @jax.named_scope("attention")
    def __call__(self, x_BLD: Array, contexts: Sequence[Within], key: Array | None) -> Array:
        """Compute the attention output x_BLD; for contexts, see `by_blocks`."""
        B, L, D = x_BLD.shape
        if self.compute.kernels == "gpu":
            qkv = self._in_one_product(x_BLD)
        else:
            qkv = [self.query(x_BLD), with_fixed_bias(self.key, x_BLD), self.value(x_BLD)]
        if by_tiles(self.compute, contexts, L, D // self.heads, key):
            heads = [x.reshape(B, L, self.heads, -1) for x in qkv]
            return self.output(
                attend_by_tiles(self.compute, heads, contexts[0].ids_BL, self.rate, key)
            )
        return self.output(self._plainly(qkv, contexts, key))

    def _in_one_product(self, x_BLD: Array) -> list[Array]:
        """Compute queries, keys and values in one product, so their gradients are one product too.

        XLA merges the forward products by itself, but not the sum that gives the gradient of x.
        """
        layers = (self.query, self.key, self.value)
        kernel = jnp.concatenate([layer.kernel.get_value() for layer in layers], axis=-1)
        y = product(x_BLD, kernel, self.query.dtype, self.query.out)
        biases = [layer.bias.get_value() for layer in layers if layer.bias is not None]
        biases[1] = jax.lax.stop_gradient(biases[1])  # see `with_fixed_bias`
        whole = gradient_in_memory(add_bias(y, jnp.concatenate(biases)))
        return jnp.split(whole, 3, axis=-1)

    def _plainly(
        self, qkv: Sequence[Array], contexts: Sequence[Within], key: Array | None
    ) -> Array:
        B, L, _ = qkv[0].shape
        levels = random_levels((B, self.heads, L, L), self.rate, key)
        return by_blocks(self._attend, qkv, contexts, levels)

    def _attend(self, qkv: Sequence[Array], within: Within, levels: Array | None) -> Array:
        q_BHLK, k_BHLK, v_BHLK = (split_heads(x_BLD, self.heads) for x_BLD in qkv)
        q_BHLK = scaled_once(q_BHLK, q_BHLK.shape[-1] ** -0.5)
        scores_BHLL = scores(q_BHLK, k_BHLK, tf32=self.compute.tf32) + within.bias_B1LL
        return join_heads(mix(scores_BHLL, v_BHLK, self.rate, levels, tf32=self.compute.tf32))
