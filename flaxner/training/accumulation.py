"""The gradient of a batch, computed at once or accumulated over parts to save memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from flaxner.models.network import Params

Batch = Mapping[str, jax.Array]
LossSum = Callable[[Params, Batch, jax.Array], tuple[jax.Array, jax.Array]]


def summed_gradient(
    loss_sum: LossSum, params: Params, batch: Batch, key: jax.Array, accumulate: int
) -> tuple[tuple[jax.Array, jax.Array], Params]:
    """Return ((loss sum, sum of weights), gradient of the sum), computed in `accumulate` parts."""
    gradient = jax.value_and_grad(loss_sum, has_aux=True)
    if accumulate == 1:
        return gradient(params, batch, key)
    # Part a takes rows a, a + A, ..., so that every device keeps its own rows and none moves.
    parts = {k: v.reshape(-1, accumulate, v.shape[1]).swapaxes(0, 1) for k, v in batch.items()}

    def body(carry: Any, item: Any) -> tuple[Any, None]:
        part, index = item
        out = gradient(params, part, jax.random.fold_in(key, index))
        return jax.tree.map(jnp.add, carry, out), None

    part = {name: value[0] for name, value in parts.items()}
    zeros = jax.tree.map(
        lambda shape: jnp.zeros(shape.shape, shape.dtype),
        jax.eval_shape(gradient, params, part, key),
    )
    return jax.lax.scan(body, zeros, (parts, jnp.arange(accumulate)))[0]
