"""Matrix products in the compute dtype, with sums and weight gradients in float32.

In bfloat16 every product, forward and backward, takes bfloat16 operands, accumulates in float32
and is rounded once, if at all. The gradient of a kernel never is: it is summed over the devices
in float32. Left to JAX's own rules, gradients would mix the two dtypes, or be rounded before they
are summed; and XLA's fast bfloat16 kernels on CPUs are those with a float32 result.

Shapes: D features in, F features out, "..." any leading dimensions.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

Array = jax.Array


class Dense(nnx.Linear):
    """`nnx.Linear` whose product is `product`."""

    def __call__(self, x: Array) -> Array:
        """x_...D -> y_...F in the layer's dtype."""
        y = product(x, self.kernel.get_value(), self.dtype)
        assert self.bias is not None
        return y + self.bias.get_value().astype(self.dtype)


def product(x: Array, kernel_DF: Array, dtype: Any) -> Array:
    """x_...D times a float32 kernel_DF, computed and returned in `dtype`."""
    if jnp.dtype(dtype) == jnp.float32:
        return jnp.matmul(x.astype(dtype), kernel_DF)
    return _narrow_product(x.astype(dtype), kernel_DF)


def batched_product(a: Array, b: Array, out: Any) -> Array:
    """a_...MK times b_...KN over equal leading dimensions, returned in the dtype `out`."""
    if a.dtype == jnp.float32:
        return jnp.matmul(a, b)
    return _narrow_batched(a, b, jnp.dtype(out))


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


@jax.custom_vjp
def _narrow_product(x: Array, kernel_DF: Array) -> Array:
    return _product_forward(x, kernel_DF)[0]


def _product_forward(x: Array, kernel_DF: Array) -> tuple[Array, tuple[Array, Array]]:
    narrow_DF = kernel_DF.astype(x.dtype)
    return _wide(x, narrow_DF, ((x.ndim - 1,), (0,))).astype(x.dtype), (x, narrow_DF)


def _product_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, narrow_DF = kept
    d_x = _wide(gradient, narrow_DF, ((x.ndim - 1,), (1,))).astype(x.dtype)
    return d_x, _turned_product(
        x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
    )


_narrow_product.defvjp(_product_forward, _product_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _narrow_batched(a: Array, b: Array, out: Any) -> Array:
    lead = tuple(range(a.ndim - 2))
    return _wide(a, b, ((a.ndim - 1,), (a.ndim - 2,)), lead).astype(out)


def _batched_forward(a: Array, b: Array, out: Any) -> tuple[Array, tuple[Array, Array]]:
    return _narrow_batched(a, b, out), (a, b)


def _batched_backward(out: Any, kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    a, b = kept
    row, column = a.ndim - 2, a.ndim - 1
    lead, narrow = tuple(range(row)), g.astype(a.dtype)
    d_a = _wide(narrow, b, ((column,), (column,)), lead)
    return d_a.astype(a.dtype), _turned_product(a, narrow).astype(b.dtype)


_narrow_batched.defvjp(_batched_forward, _batched_backward)
