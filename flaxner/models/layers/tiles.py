"""Tiled attention for GPUs, which never holds an array of all pairs in memory.

The kernels follow Dao 2023 (arXiv:2307.08691) and are written in Pallas, which compiles them with
Triton. They add support for packed rows: only tiles in which two positions of the same segment can
meet are visited. Dropout is drawn from counters inside the kernel, so the same pairs are dropped in
the backward pass, after a resumed run, and however rows are distributed over devices.

Shapes: B rows, L positions, H heads, K head width, T tiles of a row.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from flaxner.models.layers.counters import BYTES, levels_of
from flaxner.models.layers.dropout import LEVELS
from flaxner.models.layers.tile_kind import Kind

Array = jax.Array
TILE = 64  # positions
LEAST = -1e30  # lowest score; finite, so that differences are never NaN
LOG2E = math.log2(math.e)  # GPUs compute powers of two natively


def bounds(segment_ids_BL: Array, window: int | None) -> tuple[Array, Array]:
    """For each tile, find the first tile it can meet and the one after the last; int32 BT each."""
    # Padding is at the end and counts as the last segment.
    ids_BL = jnp.where(segment_ids_BL == 0, jnp.iinfo(jnp.int32).max, segment_ids_BL)
    ids_BTt = ids_BL.reshape(ids_BL.shape[0], -1, TILE)
    low, high = ids_BTt.min(-1), ids_BTt.max(-1)
    meet_BTT = (low[:, :, None] <= high[:, None]) & (low[:, None] <= high[:, :, None])
    T = low.shape[1]
    if window is not None:
        number = jnp.arange(T)
        apart = jnp.abs(number[:, None] - number[None]) * TILE - (TILE - 1)
        meet_BTT &= apart <= window
    first = jnp.argmax(meet_BTT, axis=-1)
    last = T - jnp.argmax(meet_BTT[:, :, ::-1], axis=-1)
    return first.astype(jnp.int32), last.astype(jnp.int32)


class _Place(NamedTuple):
    """A tile of the score matrix: queries are its lines, keys its columns."""

    lines: Array
    columns: Array
    column: Array  # index of the key tile
    turned: bool  # whether the tile is transposed, with keys on the first axis

    @classmethod
    def of(cls, line: Array, column: Array, *, turned: bool = False) -> _Place:
        tile = jnp.arange(TILE)
        return cls(line * TILE + tile, column * TILE + tile, column, turned)

    def pairs(self, of_lines: Array, of_columns: Array) -> tuple[Array, Array]:
        """Reshape both so that they broadcast over the tile."""
        return (
            (of_lines[None, :], of_columns[:, None])
            if self.turned
            else (of_lines[:, None], of_columns[None, :])
        )


def _rows(number: Array) -> Any:
    return pl.ds(number * TILE, TILE)


def _meeting(place: _Place, of_lines: Array, of_columns: Array, kind: Kind) -> Array:
    """Return which pairs of a tile attend to each other."""
    one, other = place.pairs(of_lines, of_columns)
    meet = one == other
    if kind.window is not None:
        one, other = place.pairs(place.lines, place.columns)
        meet &= jnp.abs(one - other) <= kind.window
    return meet


class _Draw(NamedTuple):
    """The random state that decides which pairs of a head are dropped."""

    key: tuple[Array, Array]
    first: Array  # index of the head's first line

    @classmethod
    def of(cls, keys: Any, length: int) -> _Draw | None:
        return cls((keys[0][...], keys[1][...]), pl.program_id(1) * length) if keys else None


def _kept(place: _Place, draw: _Draw | None, kind: Kind) -> Array | None:
    """Return 1 / (1 - rate) for kept pairs of the tile and 0 for others; None without dropout."""
    if draw is None:
        return None
    eights = place.column * (TILE // BYTES) + jnp.arange(TILE // BYTES)
    levels = levels_of(draw.key, draw.first + place.lines, eights, turned=place.turned)
    share = LEVELS / (LEVELS - kind.threshold)
    return jnp.where(levels >= jnp.uint32(kind.threshold), share, 0.0)


def _forward(*refs: Any, kind: Kind, length: int) -> None:
    q, k, v, ids, first, last, *keys, out, lse = refs
    line = pl.program_id(2)
    q_tK, of_lines = q[...], ids[_rows(line)]
    scale, draw = LOG2E / math.sqrt(q_tK.shape[-1]), _Draw.of(keys, length)

    def visit(column: Array, carry: Any) -> Any:
        mixed, top, total = carry
        place = _Place.of(line, column)
        meet = _meeting(place, of_lines, ids[_rows(column)], kind)
        s = jnp.where(meet, triton.dot(q_tK, k[_rows(column), :], trans_b=True) * scale, LEAST)
        higher = jnp.maximum(top, s.max(-1))
        p = jnp.where(meet, jnp.exp2(s - higher[:, None]), 0.0)
        shrink = jnp.exp2(top - higher)
        kept = _kept(place, draw, kind)
        used = p if kept is None else p * kept
        more = triton.dot(used.astype(v.dtype), v[_rows(column), :])
        return mixed * shrink[:, None] + more, higher, total * shrink + p.sum(-1)

    start = (
        jnp.zeros(q_tK.shape, jnp.float32),
        jnp.full(TILE, LEAST, jnp.float32),
        jnp.zeros(TILE, jnp.float32),
    )
    mixed, top, total = jax.lax.fori_loop(first[...], last[...], visit, start)
    out[...] = (mixed / total[:, None]).astype(out.dtype)
    lse[...] = top + jnp.log2(total)


def _gradients(
    place: _Place, q_tK: Array, k_tK: Array, v_tK: Array, more: Any, kind: Kind
) -> tuple[Array, Array]:
    """Compute a tile's probabilities after dropout, and the gradients of its scaled scores."""
    of_lines, of_columns, d_tK, lse, delta, draw = more
    scale = LOG2E / math.sqrt(q_tK.shape[-1])

    def multiply(of_lines: Array, of_columns: Array) -> Array:
        pair = (of_columns, of_lines) if place.turned else (of_lines, of_columns)
        return triton.dot(*pair, trans_b=True)

    meet = _meeting(place, of_lines, of_columns, kind)
    (lse, _), (delta, _) = place.pairs(lse, lse), place.pairs(delta, delta)
    p = jnp.where(meet, jnp.exp2(jnp.where(meet, multiply(q_tK, k_tK) * scale, LEAST) - lse), 0.0)
    d = multiply(d_tK, v_tK)
    kept = _kept(place, draw, kind)
    used = p
    if kept is not None:
        used, d = p * kept, d * kept
    return used, p * (d - delta)


def _to_queries(*refs: Any, kind: Kind, length: int) -> None:
    q, k, v, ids, first, last, d, lse, delta, *keys, dq = refs
    line = pl.program_id(2)
    q_tK, d_tK, of_lines = q[...], d[...], ids[_rows(line)]
    lse_t, delta_t, draw = lse[...], delta[...], _Draw.of(keys, length)

    def visit(column: Array, sum_tK: Array) -> Array:
        k_tK, place = k[_rows(column), :], _Place.of(line, column)
        more = (of_lines, ids[_rows(column)], d_tK, lse_t, delta_t, draw)
        _, ds = _gradients(place, q_tK, k_tK, v[_rows(column), :], more, kind)
        return sum_tK + triton.dot(ds.astype(k_tK.dtype), k_tK)

    start = jnp.zeros(q_tK.shape, jnp.float32)
    sum_tK = jax.lax.fori_loop(first[...], last[...], visit, start)
    dq[...] = (sum_tK / math.sqrt(q_tK.shape[-1])).astype(dq.dtype)


def _to_keys(*refs: Any, kind: Kind, length: int) -> None:
    q, k, v, ids, first, last, d, lse, delta, *keys, dk, dv = refs
    column = pl.program_id(2)
    k_tK, v_tK, of_columns = k[...], v[...], ids[_rows(column)]
    draw = _Draw.of(keys, length)

    def visit(line: Array, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        rows = _rows(line)
        q_tK, d_tK, place = q[rows, :], d[rows, :], _Place.of(line, column, turned=True)
        more = (ids[rows], of_columns, d_tK, lse[rows], delta[rows], draw)
        used, ds = _gradients(place, q_tK, k_tK, v_tK, more, kind)
        to_k = triton.dot(ds.astype(q_tK.dtype), q_tK)
        return sums[0] + to_k, sums[1] + triton.dot(used.astype(d_tK.dtype), d_tK)

    start = jnp.zeros(k_tK.shape, jnp.float32)
    sum_k, sum_v = jax.lax.fori_loop(first[...], last[...], visit, (start, start))
    dk[...] = (sum_k / math.sqrt(k_tK.shape[-1])).astype(dk.dtype)
    dv[...] = sum_v.astype(dv.dtype)


def _specs(length: int, width: int) -> dict[str, pl.BlockSpec]:
    """Return block specs by name: for a program's row and head, a tile or the whole."""
    return {
        "tile": pl.BlockSpec((None, TILE, None, width), lambda b, h, t: (b, t, h, 0)),
        "whole": pl.BlockSpec((None, length, None, width), lambda b, h, t: (b, 0, h, 0)),
        "ids": pl.BlockSpec((None, length), lambda b, h, t: (b, 0)),
        "bound": pl.BlockSpec((None, None), lambda b, h, t: (b, t)),
        "key": pl.BlockSpec((None,), lambda b, h, t: (b,)),
        "sums": pl.BlockSpec((None, None, TILE), lambda b, h, t: (b, h, t)),
        "all sums": pl.BlockSpec((None, None, length), lambda b, h, t: (b, h, 0)),
    }


def _call(
    kernel: Any, name: str, given: str, made: str, shapes: Any, arrays: Any, kind: Kind
) -> Any:
    """Run a kernel for every row, head and tile."""
    B, L, H, K = arrays[0].shape
    specs = _specs(L, K)
    return pl.pallas_call(
        functools.partial(kernel, kind=kind, length=L),
        grid=(B, H, L // TILE),
        in_specs=[specs[each] for each in given.split(", ")],
        out_specs=[specs[each] for each in made.split(", ")],
        out_shape=shapes,
        compiler_params=triton.CompilerParams(num_warps=4, num_stages=2),
        interpret=kind.interpret,
        name=name,
    )(*arrays)


def forward(
    kind: Kind, q: Array, k: Array, v: Array, ids: Array, *keys: Array
) -> tuple[Array, Array]:
    """Compute the attention output BLHK and each query's log-sum-exp of scores BHL, base 2.

    Args:
      kind: static settings.
      q, k, v: BLHK; L is a multiple of TILE, K a power of two of at least 16.
      ids: segment ids, BL; padding counts as one more segment.
      keys: with dropout, two arrays of random words for each row, (B,) uint32; otherwise none.
    """
    B, L, H, _ = q.shape
    shapes = [jax.ShapeDtypeStruct(q.shape, q.dtype), jax.ShapeDtypeStruct((B, H, L), jnp.float32)]
    given = "tile, whole, whole, ids, bound, bound" + ", key" * len(keys)
    arrays = (q, k, v, ids, *bounds(ids, kind.window), *keys)
    mixed, lse = _call(_forward, "attention", given, "tile, sums", shapes, arrays, kind)
    return mixed, lse


def backward(
    kind: Kind,
    q: Array,
    k: Array,
    v: Array,
    ids: Array,
    d: Array,
    lse: Array,
    delta: Array,
    *keys: Array,
) -> tuple[Array, Array, Array]:
    """Compute the gradients of queries, keys and values, BLHK each.

    Args:
      kind, q, k, v, ids, keys: as in `forward`.
      d: gradient of the attention output, BLHK.
      lse: log-sum-exp returned by `forward`.
      delta: attention output times its gradient, summed over K, BHL.
    """
    like = jax.ShapeDtypeStruct(q.shape, q.dtype)
    arrays = (q, k, v, ids, *bounds(ids, kind.window), d, lse, delta, *keys)
    more = ", key" * len(keys)
    given = f"tile, whole, whole, ids, bound, bound, tile, sums, sums{more}"
    (dq,) = _call(_to_queries, "attention_to_queries", given, "tile", [like], arrays, kind)
    given = f"whole, tile, tile, ids, bound, bound, whole, all sums, all sums{more}"
    dk, dv = _call(_to_keys, "attention_to_keys", given, "tile, tile", [like, like], arrays, kind)
    return dq, dk, dv
