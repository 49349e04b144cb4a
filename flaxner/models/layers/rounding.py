"""Arithmetic on narrow arrays, such as bfloat16: computed in float32 and rounded once.

JAX would round after every operation, and numbers too: bfloat16 has eight significant bits.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from flaxner.models.layers.merging import in_memory

Array = jax.Array


def scaled_once(x: Array, factor: float) -> Array:
    """Multiply an array by a number."""
    return (x.astype(jnp.float32) * factor).astype(x.dtype)


def rounded_once(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return the function computed in float32, rounded to the dtype of x, and so its gradient."""

    @jax.custom_vjp
    def narrow(x: Array) -> Array:
        return function(x.astype(jnp.float32)).astype(x.dtype)

    def backward(x: Array, gradient: Array) -> tuple[Array]:
        _, pull = jax.vjp(function, x.astype(jnp.float32))
        d_x = pull(gradient.astype(jnp.float32))[0].astype(x.dtype)
        return (in_memory(d_x),)  # otherwise XLA would also write it in float32, to sum the bias's

    narrow.defvjp(lambda x: (narrow(x), x), backward)
    return lambda x: function(x) if x.dtype == jnp.float32 else narrow(x)
