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
from flaxner.models.layers.dropout import LEVELS, dropped, random_levels
from flaxner.models.layers.fused import attend, attend_on_tpu
from flaxner.models.layers.tile_kind import Kind

Array = jax.Array


def segment_bias(segment_ids_BL: Array) -> Array:
    """Attention bias_B1LL: 0 within a segment, the least float32 elsewhere.

    Padding (segment 0) attends to padding, so no row of the softmax is fully masked.
    """
    same_B1LL = segment_ids_BL[:, None, :, None] == segment_ids_BL[:, None, None, :]
    return jnp.where(same_B1LL, 0.0, jnp.finfo(jnp.float32).min)


class Within(NamedTuple):
    """What keeps attention within segments.

    Attributes:
      bias_B1LL: see `segment_bias`.
      ids_BL: the segments.
    """

    bias_B1LL: Array
    ids_BL: Array

    @classmethod
    def of(cls, segment_ids_BL: Array) -> Within:
        """Of a batch's segments."""
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
    """Products of all queries with all keys, float32 scores_BHLL; scaling is the caller's."""
    # In the dtype of the activations: heads are too small for narrow operands to pay for
    # their conversion where activations are float32.
    return product(q_BHLK, k_BHLK.swapaxes(-1, -2), k_BHLK.dtype, jnp.float32, tf32=tf32)


def mix(
    scores_BHLL: Array, v_BHLK: Array, rate: float, levels: Array | None, *, tf32: bool = False
) -> Array:
    """softmax(scores) times the values, mixed_BHLK (Vaswani et al. 2017, eq. 1).

    `levels`, as `random_levels` draws them for the scores, decide what dropout zeroes.
    """
    narrow = v_BHLK.dtype
    with jax.named_scope("softmax"):
        probs_BHLL = jax.nn.softmax(scores_BHLL, axis=-1).astype(narrow)
    return product(dropped(probs_BHLL, rate, levels), v_BHLK, narrow, narrow, tf32=tf32)


def with_fixed_bias(layer: Dense, x_BLD: Array) -> Array:
    """A linear layer of keys, its bias held fixed.

    A key bias adds the same number to all scores of a query, and softmax takes no notice:
    its gradient is zero, but rounding leaves noise that Adam would blow up to full steps.
    """
    assert layer.bias is not None
    y_BLD = product(x_BLD, layer.kernel.get_value(), layer.dtype, layer.out, tf32=layer.tf32)
    return add_bias(y_BLD, jax.lax.stop_gradient(layer.bias.get_value()))


def zero_with_gradient(x: Array) -> Array:
    """Zeros, whose gradient is that of x: lets a gradient in where x was held fixed."""
    return x - jax.lax.stop_gradient(x)


def divided(x_BL: Array, blocks: Blocks | None) -> tuple[Array, ...]:
    """The whole rows of a batch, and the blocks of the others as rows of their own."""
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
    """Attention of whole rows, and within blocks of the others: no segment crosses a block.

    Args:
      attend: (arrays, context, levels) -> mixed_BLD, of rows of any number and length.
      arrays: queries, keys, values and what else it takes, rows and positions at `axis` each.
      contexts: of the parts that `divided` makes; the bias is the first array of each.
      levels: see `random_levels`, rows at `axis`, pairs of positions last. They are drawn for
        whole rows, so that dropout zeroes the same pairs however rows are divided.
      axis: where the arrays have rows, and positions behind them.

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
    """Of the pairs of a row those within its blocks, which become rows: (..., length, length)."""
    places = range(0, levels.shape[-1], length)
    own = [levels[..., i : i + length, i : i + length] for i in places]
    shape = list(own[0].shape)
    shape[axis] *= len(own)
    return jnp.stack(own, axis=axis + 1).reshape(shape)


# Rows of at least so many positions are attended to by tiles.
SHORTEST = {"gpu": 128, "tpu": 384}
WIDTHS = (16, 32, 64, 128)  # of a head, that the kernels have


def by_tiles(
    compute: Compute,
    contexts: Sequence[Any],
    length: int,
    width: int,
    key: Array | None,
    window: int | None = None,
) -> bool:
    """Whether rows of that length are attended to by tiles, the heads being so wide.

    The kernel for TPUs has no windows and drops nothing. An exported program is one for rows of any
    length, which no kernel is. No kernel has rows of several lengths, as `by_blocks` has.
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
    """Mixed values x_BLD, within segments and perhaps within a window on both sides."""
    q_BLHK, k_BLHK, v_BLHK = qkv_BLHK
    ids_BL = ids_BL.astype(jnp.int32)  # masks come in any type
    threshold = round(rate * LEVELS) if key is not None else 0
    if compute.kernels == "tpu":
        mixed_BLHK = attend_on_tpu(q_BLHK, k_BLHK, v_BLHK, ids_BL)
    else:
        words: tuple[Array, ...] = ()
        if key is not None and threshold:
            # Rows first, so that a row's words are the same among however many.
            words = tuple(jax.random.bits(key, (ids_BL.shape[0], 2), jnp.uint32).T)
        mixed_BLHK = attend(Kind(window, threshold), q_BLHK, k_BLHK, v_BLHK, ids_BL, words)
    return mixed_BLHK.reshape(*mixed_BLHK.shape[:2], -1)


class Attention(nnx.Module):
    """Multi-head self-attention within segments, as BERT has it."""

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
        """Mixed values x_BLD; contexts as `by_blocks` takes them."""
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
        """Queries, keys and values as parts of one product, so that their gradients are one, too.

        XLA makes one of the products by itself, but not of the sums that give the gradient of x.
        """
        layers = (self.query, self.key, self.value)
        kernel = jnp.concatenate([layer.kernel.get_value() for layer in layers], axis=-1)
        y = product(x_BLD, kernel, self.query.dtype, self.query.out)
        biases = [layer.bias.get_value() for layer in layers if layer.bias is not None]
        biases[1] = jax.lax.stop_gradient(biases[1])  # see `with_fixed_bias`
        return jnp.split(add_bias(y, jnp.concatenate(biases)), 3, axis=-1)

    def _plainly(
        self, qkv: Sequence[Array], contexts: Sequence[Within], key: Array | None
    ) -> Array:
        B, L, _ = qkv[0].shape
        levels = random_levels((B, self.heads, L, L), self.rate, key)
        return by_blocks(self._attend, qkv, contexts, levels)

    def _attend(self, qkv: Sequence[Array], within: Within, levels: Array | None) -> Array:
        q_BHLK, k_BHLK, v_BHLK = (split_heads(x_BLD, self.heads) for x_BLD in qkv)
        scaled_BHLK = q_BHLK * (q_BHLK.shape[-1] ** -0.5)
        scores_BHLL = scores(scaled_BHLK, k_BHLK, tf32=self.compute.tf32) + within.bias_B1LL
        return join_heads(mix(scores_BHLL, v_BHLK, self.rate, levels, tf32=self.compute.tf32))
