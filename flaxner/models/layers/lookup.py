"""Table lookups with deterministic gradients.

The gradient of a table row is the sum of the gradients of all positions that read it. Written as a
scatter, GPUs compute it with atomic operations, in arbitrary order; in deterministic mode, XLA
sorts the features of all positions, number by number. Here, the gradient of a small table is a
matrix product of the positions' one-hot rows with their gradients; for a large table, positions are
sorted and summed by row (`row_sums`). CPUs and TPUs scatter in a fixed order anyway.

Shapes: V rows of a table, D features, "..." positions.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec as P

from flaxner.models.layers.row_sums import row_sums

Array = jax.Array
# Maximum rows of a table whose gradient is a product on GPUs: at most 2 x 1024 operations per
# element of a gradient, a hundredth of what a layer of BERT-base spends on it.
SMALL = 1024


class Embed(nnx.Embed):
    """`nnx.Embed` based on `lookup`."""

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
    """Look up rows x_...D of a table; its gradient is summed in float32, in a fixed order."""
    return _take(table_VD, ids)


def _lookup_forward(table_VD: Array, ids: Array) -> tuple[Array, tuple[Array, Array]]:
    # An empty array carries the table's number of rows and dtype.
    return _take(table_VD, ids), (ids, jnp.zeros((table_VD.shape[0], 0), table_VD.dtype))


def _lookup_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, None]:
    ids, of_table = kept
    rows, wide = of_table.shape[0], gradient.astype(jnp.float32)
    scatter = functools.partial(_scattered, rows=rows)
    other = functools.partial(_multiplied if rows <= SMALL else _summed, rows=rows)
    d_table_VD = jax.lax.platform_dependent(ids, wide, cpu=scatter, tpu=scatter, default=other)
    return d_table_VD.astype(of_table.dtype), None


def _scattered(ids: Array, gradient: Array, rows: int) -> Array:
    table = jax.ShapeDtypeStruct((rows, gradient.shape[-1]), gradient.dtype)
    return jax.linear_transpose(lambda table_VD: _take(table_VD, ids), table)(gradient)[0]


def _multiplied(ids: Array, gradient: Array, rows: int) -> Array:
    """Multiply by one-hot rows, which is exact at the highest precision."""
    axes = tuple(range(ids.ndim))
    one_hot = jax.nn.one_hot(ids, rows, dtype=gradient.dtype)
    exact = jax.lax.Precision.HIGHEST
    return jnp.tensordot(one_hot, gradient, axes=(axes, axes), precision=exact)


def _summed(ids: Array, gradient: Array, rows: int) -> Array:
    """Sum with `row_sums`, choosing what to send between several devices.

    Either every device gathers and sums all positions, or each sums its own and the compiler adds
    up the tables, depending on which is smaller: the positions' gradients or the table's.
    """

    def alone(ids: Array, gradient: Array) -> Array:
        return row_sums(ids.ravel(), gradient.reshape(-1, gradient.shape[-1]), rows)

    def of_all(*own: Array) -> Array:
        return alone(*(jax.lax.all_gather(x, mesh.axis_names, tiled=True) for x in own))

    def of_each(*own: Array) -> Array:
        return alone(*own)[None]

    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1 or ids.ndim < 2 or ids.shape[0] % mesh.size:
        return alone(ids, gradient)
    spread = functools.partial(jax.shard_map, in_specs=P(mesh.axis_names), check_vma=False)
    if ids.size < 2 * rows:  # an all-reduce moves an array twice
        return spread(of_all, out_specs=P())(ids, gradient)
    return spread(of_each, out_specs=P(mesh.axis_names))(ids, gradient).sum(0)


lookup.defvjp(_lookup_forward, _lookup_backward)
