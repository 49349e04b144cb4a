"""Matrix products with narrow operands, and sums and weight gradients in float32.

In bfloat16 every product, forward and backward, takes bfloat16 operands, accumulates in float32
and is rounded to the dtype of the activations, once. The gradient of a kernel is not rounded at
all, so it is summed over the devices in float32. Left to JAX's own rules, gradients would mix
the two dtypes or be rounded before they are summed, and XLA's CPU backend, whose bfloat16 kernels
are those with a float32 result, would not take them.

Shapes: D features in, F features out, M, K, N sides of a matrix, "..." leading dimensions.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

Array = jax.Array
Kept = tuple[Array, Array]


class Dense(nnx.Linear):
    """`nnx.Linear` by `product`: operands in `dtype`, the result in the dtype `out`."""

    def __init__(self, d_in: int, d_out: int, *, out: Any, **settings: Any) -> None:
        super().__init__(d_in, d_out, **settings)
        self.out = out

    def __call__(self, inputs: Array, out_sharding: Any = None) -> Array:
        """x_...D -> y_...F."""
        assert self.bias is not None
        assert out_sharding is None
        y = product(inputs, self.kernel.get_value(), self.dtype, self.out)
        return y + self.bias.get_value().astype(self.out)


def product(x: Array, kernel_DF: Array, dtype: Any, out: Any) -> Array:
    """x_...D times a float32 kernel_DF, with operands in `dtype`, returned in `out`."""
    if jnp.dtype(dtype) == jnp.float32:
        return jnp.matmul(x.astype(dtype), kernel_DF).astype(out)
    flat = batched_product(x.reshape(-1, x.shape[-1]), kernel_DF, dtype, out)
    return flat.reshape(*x.shape[:-1], -1)


def batched_product(a: Array, b: Array, dtype: Any, out: Any) -> Array:
    """a_...MK times b_...KN over equal leading dimensions, operands in `dtype`, in `out`."""
    if jnp.dtype(dtype) == jnp.float32:
        return jnp.matmul(a, b).astype(out)
    return _narrow_product(a, b, jnp.dtype(dtype), jnp.dtype(out))


def _wide(a: Array, b: Array, axes: tuple[Any, Any], batch: tuple[int, ...] = ()) -> Array:
    return jax.lax.dot_general(a, b, (axes, (batch, batch)), preferred_element_type=jnp.float32)


def _turned_product(a: Array, b: Array) -> Array:
    """a_...KM, its last two axes swapped, times b_...KN: float32 ...MN.

    XLA's CPU backend has no bfloat16 kernel for this order and takes the float32 one, half as
    fast. It folds a plain transpose into the product; interleaved halves it cannot, and copies.
    """
    row, lead = a.ndim - 2, tuple(range(a.ndim - 2))

    def folded(a: Array, b: Array) -> Array:
        return _wide(a, b, ((row,), (row,)), lead)

    def copied(a: Array, b: Array) -> Array:
        turned = a.swapaxes(-1, -2)
        halves = jnp.stack([turned[..., 0::2, :], turned[..., 1::2, :]], axis=-2)
        return _wide(halves.reshape(turned.shape), b, ((row + 1,), (row,)), lead)

    if a.shape[-1] % 2:
        return folded(a, b)
    return jax.lax.platform_dependent(a, b, cpu=copied, default=folded)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _narrow_product(a: Array, b: Array, dtype: Any, out: Any) -> Array:
    column, lead = a.ndim - 1, tuple(range(a.ndim - 2))
    return _wide(a.astype(dtype), b.astype(dtype), ((column,), (column - 1,)), lead).astype(out)


def _product_forward(a: Array, b: Array, dtype: Any, out: Any) -> tuple[Array, Any]:
    # Empty arrays carry the dtypes that the gradients must have.
    types = jnp.zeros(0, a.dtype), jnp.zeros(0, b.dtype)
    return _narrow_product(a, b, dtype, out), (a.astype(dtype), b.astype(dtype), *types)


def _product_backward(dtype: Any, out: Any, kept: Any, gradient: Array) -> Kept:
    a, b, of_a, of_b = kept
    column, lead = a.ndim - 1, tuple(range(a.ndim - 2))
    gradient = gradient.astype(dtype)
    d_a = _wide(gradient, b, ((column,), (column,)), lead)
    return d_a.astype(of_a.dtype), _turned_product(a, gradient).astype(of_b.dtype)


_narrow_product.defvjp(_product_forward, _product_backward)
