"""Sums of the rows that have the same number, in an order that is fixed, for GPUs.

Numbers are sorted once, so that equal ones are a run. Rows are summed within chunks of the sorted
ones by a product that says which have the same number; a run that goes on beyond its chunk is the
last of it and the first of the next, and so are the sums of a chunk's first run added up by a
second product. Nothing is added by atomic operations, and nothing is scattered: each number looks
its sum up.

Shapes: N rows, K chunks of C, V numbers, D features.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array
CHUNK = 64  # rows; the two products are of N x CHUNK x D and (N / CHUNK)^2 x D multiplications


@jax.named_scope("row_sums")
def row_sums(ids_N: Array, x_ND: Array, numbers: int) -> Array:
    """Of each number from 0 on the sum of its rows x, zeros if it has none: float32 VD."""
    ids_KC, sorted_KCD = _sorted(ids_N, x_ND, numbers)
    within_KCD = _multiplied(ids_KC[:, :, None] == ids_KC[:, None, :], sorted_KCD)
    chunk = jnp.arange(len(ids_KC))
    later_KK = (ids_KC[:, -1][:, None] == ids_KC[:, 0]) & (chunk[:, None] < chunk)
    beyond_KD = _multiplied(jax.lax.optimization_barrier(later_KK), within_KCD[:, 0])
    flat_ND = within_KCD.reshape(-1, within_KCD.shape[-1])
    # Found once for a number, not for each of its features where the sums are read.
    places_V2 = jax.lax.optimization_barrier(_places(ids_KC, numbers))
    return _rows(flat_ND, places_V2[:, 0]) + _rows(beyond_KD, places_V2[:, 1])


def _sorted(ids_N: Array, x_ND: Array, numbers: int) -> tuple[Array, Array]:
    """Both by number, in chunks whose last row is zeros and has a number of its own."""
    N = len(ids_N)
    ids_N, order_N = jax.lax.sort((ids_N, jnp.arange(N, dtype=jnp.int32)), num_keys=2)
    more = CHUNK - N % CHUNK
    ids_N = jnp.pad(ids_N, (0, more), constant_values=numbers)
    x_ND = jnp.pad(_rows(x_ND, order_N), ((0, more), (0, 0)))
    return ids_N.reshape(-1, CHUNK), x_ND.reshape(-1, CHUNK, x_ND.shape[-1])


def _multiplied(where: Array, x: Array) -> Array:
    """Products with ones and zeros are exact at the highest precision, and no others are made."""
    exact = jax.lax.Precision.HIGHEST
    return jnp.matmul(where.astype(x.dtype), x, precision=exact, preferred_element_type=jnp.float32)


def _places(ids_KC: Array, numbers: int) -> Array:
    """Of each number its first row and, if its run goes on beyond it, that row's chunk: int32 V2.

    Where there is none, the last of them: no sums are there but zeros.
    """
    K, C = ids_KC.shape
    ids_N, row = ids_KC.reshape(-1), jnp.arange(K * C, dtype=jnp.int32)
    chunk = jnp.where((ids_KC == ids_KC[:, -1:]).reshape(-1), row // C, K - 1)
    first = jnp.pad(ids_N[1:] != ids_N[:-1], (1, 0), constant_values=True)
    # Each is written once, so in no order; what is not there is beyond the table.
    to_N = jnp.where(first, ids_N, numbers + row)
    none_V2 = jnp.broadcast_to(jnp.array([K * C - 1, K - 1], jnp.int32), (numbers, 2))
    return none_V2.at[to_N].set(jnp.stack([row, chunk], -1), mode="drop", unique_indices=True)


def _rows(x: Array, places: Array) -> Array:
    return x.at[places].get(mode="promise_in_bounds")
