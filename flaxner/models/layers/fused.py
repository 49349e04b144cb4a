"""Tiled attention and its gradient, with rows sharded over devices and several seeds at once.

Shapes: B rows, L positions, H heads, K head width.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from flaxner.models.layers.tile_kind import Kind

Array = jax.Array


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def attend(kind: Kind, q: Array, k: Array, v: Array, ids: Array, keys: tuple[Array, ...]) -> Array:
    """Compute the attention output BLHK; arguments as in `tiles.forward`."""
    return _attend(kind, q, k, v, ids, keys)[0]


def _attend(
    kind: Kind, q: Array, k: Array, v: Array, ids: Array, keys: tuple[Array, ...]
) -> tuple[Array, Any]:
    from flaxner.models.layers import tiles  # needs Triton, which JAX lacks on some systems

    mixed, lse = _by_rows(tiles.forward, kind, q, k, v, ids, *keys)
    return mixed, (q, k, v, ids, keys, mixed, lse)


def _gradients(kind: Kind, kept: Any, d: Array) -> tuple[Any, ...]:
    from flaxner.models.layers import tiles

    q, k, v, ids, keys, mixed, lse = kept
    products = mixed.astype(jnp.float32) * d.astype(jnp.float32)
    delta = products.sum(-1).swapaxes(1, 2)
    given = (q, k, v, ids, d.astype(q.dtype), lse, delta, *keys)
    made = _by_rows(tiles.backward, kind, *given)
    return (*made, None, None)


attend.defvjp(_attend, _gradients)


def attend_on_tpu(q: Array, k: Array, v: Array, ids: Array) -> Array:
    """Compute the attention output BLHK with JAX's TPU kernel; no dropout, for inference only."""
    return _by_rows(_flash, Kind(), q, k, v, ids)[0]


def _flash(kind: Kind, q: Array, k: Array, v: Array, ids: Array) -> tuple[Array]:
    from jax.experimental.pallas.ops.tpu import flash_attention as flash

    heads = (x.swapaxes(1, 2) for x in (q, k, v))
    segments, scale = flash.SegmentIds(ids, ids), q.shape[-1] ** -0.5
    return (flash.flash_attention(*heads, segment_ids=segments, sm_scale=scale).swapaxes(1, 2),)


def _by_rows(function: Callable[..., Any], kind: Kind, *arrays: Array) -> Any:
    """Apply a function that treats each row (first axis) independently, sharded over devices.

    The compiler cannot partition a custom kernel. So under a mesh (when traced within
    `devices.mesh.kernels_over`), `shard_map` makes every device process its own rows.
    """
    mesh = jax.sharding.get_abstract_mesh()
    call = functools.partial(function, kind)
    if mesh.empty or mesh.size == 1:
        return call(*arrays)
    rows = P(mesh.axis_names)
    return jax.shard_map(call, in_specs=rows, out_specs=rows, check_vma=False)(*arrays)
