"""Rows of tables, and gradients of tables that no order of chance decides on.

The gradient of a table sums the gradients of all positions that read a row. Written as a scatter,
GPUs sum them with atomic operations, in whatever order they come. For a small table it is a matrix
product here, of the positions' one-hot rows with their gradients; for a large one the compiler is
told to sort the positions first (`devices/compiler_options.py`). CPUs and TPUs scatter in an order
that is fixed.

Shapes: V rows of a table, D features, "..." positions.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx

Array = jax.Array
# Rows of a table whose gradient is a product on a GPU: at most 2 x 1024 operations a gradient's
# element, a hundredth of what a layer of BERT-base does with it.
SMALL = 1024


class Embed(nnx.Embed):
    """`nnx.Embed` by `lookup`."""

    def __call__(self, inputs: Array, out_sharding: object = None) -> Array:
        """ids_... -> x_...D."""
        assert out_sharding is None
        table_VD = self.embedding.get_value()
        if self.num_embeddings == 1:
            return jnp.broadcast_to(table_VD, (*inputs.shape, self.features))
        return lookup(table_VD, inputs)


def _take(table_VD: Array, ids: Array) -> Array:
    return jnp.take(table_VD, ids, axis=0)


@jax.custom_vjp
def lookup(table_VD: Array, ids: Array) -> Array:
    """The rows x_...D of a table; its gradient is summed in float32, in an order that is fixed."""
    return _take(table_VD, ids)


def _lookup_forward(table_VD: Array, ids: Array) -> tuple[Array, tuple[Array, Array]]:
    # An empty array carries the table's rows and dtype.
    return _take(table_VD, ids), (ids, jnp.zeros((table_VD.shape[0], 0), table_VD.dtype))


def _lookup_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, None]:
    ids, of_table = kept
    rows, wide = of_table.shape[0], gradient.astype(jnp.float32)
    if rows > SMALL:
        d_table_VD = _scattered(ids, wide, rows)
    else:
        scatter = functools.partial(_scattered, rows=rows)
        multiply = functools.partial(_multiplied, rows=rows)
        d_table_VD = jax.lax.platform_dependent(
            ids, wide, cpu=scatter, tpu=scatter, default=multiply
        )
    return d_table_VD.astype(of_table.dtype), None


def _scattered(ids: Array, gradient: Array, rows: int) -> Array:
    table = jax.ShapeDtypeStruct((rows, gradient.shape[-1]), gradient.dtype)
    return jax.linear_transpose(lambda table_VD: _take(table_VD, ids), table)(gradient)[0]


def _multiplied(ids: Array, gradient: Array, rows: int) -> Array:
    """Products with ones and zeros are exact at the highest precision, and no others are made."""
    axes = tuple(range(ids.ndim))
    one_hot = jax.nn.one_hot(ids, rows, dtype=gradient.dtype)
    exact = jax.lax.Precision.HIGHEST
    return jnp.tensordot(one_hot, gradient, axes=(axes, axes), precision=exact)


lookup.defvjp(_lookup_forward, _lookup_backward)
