"""Layer norm with a gradient that GPUs compute in few kernels.

XLA's own gradient recomputes means in every kernel that reads them, in tiles as wide as the next
power of two, and writes products in float32 to sum them over positions: five kernels per norm,
14% of a training step of BERT-base on an H200. Here, each position's sums are computed first, and
what depends on them element by element joins the dropout or addition that follows: 7%.

Shapes: D features, "..." leading dimensions.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def layer_norm(
    x: Array, scale: Array, bias: Array | None, epsilon: float, dtype: jnp.dtype
) -> Array:
    """Normalise x_...D over its features (Ba et al. 2016), in float32, and round to a dtype."""
    return _forward(x, scale, bias, epsilon, dtype)[0]


def _forward(
    x: Array, scale: Array, bias: Array | None, epsilon: float, dtype: jnp.dtype
) -> tuple[Array, Any]:
    wide = x.astype(jnp.float32)
    total = _sums(wide)
    squares = _sums(jnp.square(wide - total / x.shape[-1]))
    y = _unit(x, total, squares, epsilon, scale)
    y = y if bias is None else y + bias
    return y.astype(dtype), (x, scale, None if bias is None else jnp.zeros(0), total, squares)


def _backward(epsilon: float, dtype: jnp.dtype, kept: Any, gradient: Array) -> tuple[Any, ...]:
    x, scale, biased, total, squares = kept
    d = gradient.astype(jnp.float32)
    unit = _unit(x, total, squares, epsilon)
    scaled = d * scale
    along, across = _sums(scaled), _sums(scaled * unit)
    inverse = jax.lax.rsqrt(squares / x.shape[-1] + epsilon)
    d_x = inverse * (scaled - along / x.shape[-1] - unit * (across / x.shape[-1]))
    leading = tuple(range(x.ndim - 1))
    d_bias = None if biased is None else d.sum(leading)
    return d_x.astype(x.dtype), (d * unit).sum(leading), d_bias


def _sums(x: Array) -> Array:
    """Sum over the features, x_...1; what depends on a sum is computed where it is read."""
    return jax.lax.optimization_barrier(x.sum(-1, keepdims=True))


def _unit(x: Array, total: Array, squares: Array, epsilon: float, scale: Any = 1.0) -> Array:
    """Return x with a mean of 0 and a variance of 1, times a scale."""
    inverse = jax.lax.rsqrt(squares / x.shape[-1] + epsilon)
    return (x.astype(jnp.float32) - total / x.shape[-1]) * (inverse * scale)


layer_norm.defvjp(_forward, _backward)
