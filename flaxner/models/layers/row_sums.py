"""Deterministic sums on GPUs: adds up the rows that share a number, in a fixed order.

Rows are sorted by number once, so equal numbers form a run. Within each chunk of sorted rows, a
product with a 0/1 matrix of equal numbers gives the sums. A run that crosses a chunk boundary is
the last one in its chunk and the first one in the next, so a second product adds up the sums of
the chunks' first runs. There are no atomic additions and no scattered sums: each number looks up
its own sum.

Shapes: N rows, K chunks of C, V numbers, D features.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array
CHUNK = 64  # rows; the two products take N x CHUNK x D and (N / CHUNK)^2 x D multiplications


@jax.named_scope("row_sums")
def row_sums(ids_N: Array, x_ND: Array, numbers: int) -> Array:
    """Sum the rows of x for each number from 0 (zeros if it has none), float32 VD."""
    ids_KC, sorted_KCD = _sorted(ids_N, x_ND, numbers)
    within_KCD = _multiplied(ids_KC[:, :, None] == ids_KC[:, None, :], sorted_KCD)
    chunk = jnp.arange(len(ids_KC))
    later_KK = (ids_KC[:, -1][:, None] == ids_KC[:, 0]) & (chunk[:, None] < chunk)
    beyond_KD = _multiplied(jax.lax.optimization_barrier(later_KK), within_KCD[:, 0])
    flat_ND = within_KCD.reshape(-1, within_KCD.shape[-1])
    # Computed once per number, not again for each feature where the sums are read.
    places_V2 = jax.lax.optimization_barrier(_places(ids_KC, numbers))
    return _rows(flat_ND, places_V2[:, 0]) + _rows(beyond_KD, places_V2[:, 1])


def _sorted(ids_N: Array, x_ND: Array, numbers: int) -> tuple[Array, Array]:
    """Sort both by number, pad with zero rows that have their own number, and split into chunks."""
    N = len(ids_N)
    ids_N, order_N = jax.lax.sort((ids_N, jnp.arange(N, dtype=jnp.int32)), num_keys=2)
    more = CHUNK - N % CHUNK
    ids_N = jnp.pad(ids_N, (0, more), constant_values=numbers)
    x_ND = jnp.pad(_rows(x_ND, order_N), ((0, more), (0, 0)))
    return ids_N.reshape(-1, CHUNK), x_ND.reshape(-1, CHUNK, x_ND.shape[-1])


def _multiplied(where: Array, x: Array) -> Array:
    """Multiply by a 0/1 matrix, which is exact at the highest precision."""
    exact = jax.lax.Precision.HIGHEST
    return jnp.matmul(where.astype(x.dtype), x, precision=exact, preferred_element_type=jnp.float32)


def _places(ids_KC: Array, numbers: int) -> Array:
    """Find each number's first row and, if its run crosses a boundary, that row's chunk: int32 V2.

    If there is none, point to the last row or chunk, whose sums are zero.
    """
    K, C = ids_KC.shape
    ids_N, row = ids_KC.reshape(-1), jnp.arange(K * C, dtype=jnp.int32)
    chunk = jnp.where((ids_KC == ids_KC[:, -1:]).reshape(-1), row // C, K - 1)
    first = jnp.pad(ids_N[1:] != ids_N[:-1], (1, 0), constant_values=True)
    # Each entry is written at most once, so order does not matter; rows that are not the first of
    # their run get an index beyond the table and are dropped.
    to_N = jnp.where(first, ids_N, numbers + row)
    none_V2 = jnp.broadcast_to(jnp.array([K * C - 1, K - 1], jnp.int32), (numbers, 2))
    return none_V2.at[to_N].set(jnp.stack([row, chunk], -1), mode="drop", unique_indices=True)


def _rows(x: Array, places: Array) -> Array:
    return x.at[places].get(mode="promise_in_bounds")
