"""Matrix products with narrow operands, and sums and weight gradients in float32.

In bfloat16 every product, forward and backward, takes bfloat16 operands, accumulates in float32
and is rounded to the dtype of the activations, once. The gradient of a kernel is not rounded at
all, so it is summed over the devices in float32. Left to JAX's own rules, gradients would mix
the two dtypes or be rounded before they are summed, and XLA's CPU backend, whose bfloat16 kernels
are those with a float32 result, would not take them.

In float32 a product is of float32, on every back end: left to their defaults, NVIDIA GPUs round
its operands to TF32 (10 bits behind the point) and TPUs to bfloat16 (7). At the highest precision
GPUs multiply in float32, and TPUs in six bfloat16 products, which sum to one of float32.

Shapes: D features in, F features out, M, K, N sides of a matrix, "..." leading dimensions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from flaxner.models.layers.merging import by_ones

Array = jax.Array


class Dense(nnx.Linear):
    """`nnx.Linear` by `product`: operands in `dtype`, the result in the dtype `out`."""

    def __init__(
        self, d_in: int, d_out: int, *, out: Any, tf32: bool = False, **settings: Any
    ) -> None:
        super().__init__(d_in, d_out, **settings)
        self.out, self.tf32 = out, tf32

    def __call__(self, inputs: Array, out_sharding: Any = None) -> Array:
        """x_...D -> y_...F."""
        assert out_sharding is None
        y = product(inputs, self.kernel.get_value(), self.dtype, self.out, tf32=self.tf32)
        return y if self.bias is None else add_bias(y, self.bias.get_value())


def add_bias(y: Array, bias: Array) -> Array:
    """y plus a float32 bias that is broadcast to it, rounded to the dtype of y.

    The gradient of the bias is a sum over rows and positions: it is taken in float32 since the
    addition is, over the devices too.
    """
    return (y.astype(jnp.float32) + bias).astype(y.dtype)


def product(a: Array, b: Array, dtype: Any, out: Any, *, tf32: bool = False) -> Array:
    """a_...MK times b_KN, or b_...KN with equal leading dimensions.

    Args:
      a, b: activations, or a layer's float32 kernel.
      dtype: of the operands.
      out: dtype of the result.
      tf32: operands of float32 may be rounded to TF32, which NVIDIA GPUs alone have.
    """
    if jnp.dtype(dtype) == jnp.float32:
        precision = jax.lax.DotAlgorithmPreset.TF32_TF32_F32 if tf32 else jax.lax.Precision.HIGHEST
        multiply = functools.partial(jnp.matmul, precision=precision)
        return _by_lines(multiply, a.astype(dtype), b).astype(out)
    return _narrow_product(a, b, jnp.dtype(dtype), jnp.dtype(out))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def rounded_together(kernels: list[Array], dtype: Any) -> list[Array]:
    """Kernels that `product` takes in a dtype, of their own dtype still, and so are gradients.

    NVIDIA GPUs round all of a shape at once, not each in a kernel of theirs. Others get them as
    they are, and round where they multiply.
    """

    def together(kernels: list[Array]) -> list[Array]:
        narrow = [kernel.astype(dtype) for kernel in by_ones(kernels)]
        narrow = jax.lax.optimization_barrier(narrow)  # else each is rounded where it is read
        return [one.astype(kernel.dtype) for one, kernel in zip(narrow, kernels, strict=True)]

    return jax.lax.platform_dependent(kernels, cuda=together, default=lambda kernels: kernels)


def _rounded_forward(kernels: list[Array], dtype: Any) -> tuple[list[Array], None]:
    return rounded_together(kernels, dtype), None


rounded_together.defvjp(_rounded_forward, lambda dtype, kept, gradients: (gradients,))


def _by_lines(multiply: Callable[[Array, Array], Array], a: Array, b: Array) -> Array:
    """A product, on CPUs of one long matrix where b is one.

    The gradient of b is a sum over all leading dimensions of a: where they are several, XLA's CPU
    backend turns and copies an operand first. The TPU compiler chooses layouts by them.
    """
    if b.ndim > 2 or a.ndim == 2:
        return multiply(a, b)

    def flat(a: Array, b: Array) -> Array:
        return multiply(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1])

    return jax.lax.platform_dependent(a, b, cpu=flat, default=multiply)


def _wide(
    a: Array, b: Array, axes: tuple[Any, Any], batch: tuple[int, ...] = (), out: Any = jnp.float32
) -> Array:
    # TPUs take float16 for bfloat16 at a lower precision; for bfloat16 there is only one.
    return jax.lax.dot_general(
        a,
        b,
        (axes, (batch, batch)),
        precision=None if a.dtype == jnp.bfloat16 else jax.lax.Precision.HIGHEST,
        preferred_element_type=out,
    )


def _rounded(a: Array, b: Array, axes: tuple[Any, Any], batch: tuple[int, ...], out: Any) -> Array:
    """A product that is summed in float32 and rounded to a dtype.

    NVIDIA's libraries do both in one kernel where the product itself has that dtype, and write
    float32 for another kernel to convert where it has not: 17% of BERT-base's traffic.
    """

    def here(a: Array, b: Array) -> Array:
        return _wide(a, b, axes, batch, out)

    def after(a: Array, b: Array) -> Array:
        return _wide(a, b, axes, batch).astype(out)

    if out == jnp.float32:
        return here(a, b)
    return jax.lax.platform_dependent(a, b, cuda=here, default=after)


def _turned_product(a: Array, b: Array, lead: tuple[int, ...]) -> Array:
    """a_...MK, turned, times b_...MN, summed over all but the axes `lead`: float32 ...KN.

    XLA's CPU backend has no bfloat16 kernel for this order and takes the float32 one, half as
    fast. It folds a plain transpose into the product; interleaved halves it cannot, and copies.
    The TPU compiler chooses layouts by the axes: flattening them first would cost it copies.
    """
    batched = len(lead)
    summed = tuple(range(batched, a.ndim - 1))

    def folded(a: Array, b: Array) -> Array:
        return _wide(a, b, (summed, summed), lead)

    def copied(a: Array, b: Array) -> Array:
        a, b = (x.reshape(*x.shape[:batched], -1, x.shape[-1]) for x in (a, b))
        turned = a.swapaxes(-1, -2)
        halves = jnp.stack([turned[..., 0::2, :], turned[..., 1::2, :]], axis=-2)
        return _wide(halves.reshape(turned.shape), b, ((batched + 1,), (batched,)), lead)

    if a.shape[-1] % 2:
        return folded(a, b)
    return jax.lax.platform_dependent(a, b, cpu=copied, default=folded)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _narrow_product(a: Array, b: Array, dtype: Any, out: Any) -> Array:
    axes, lead = ((a.ndim - 1,), (b.ndim - 2,)), tuple(range(b.ndim - 2))
    return _rounded(a.astype(dtype), b.astype(dtype), axes, lead, out)


def _product_forward(a: Array, b: Array, dtype: Any, out: Any) -> tuple[Array, Any]:
    # Empty arrays carry the dtypes that the gradients must have.
    types = jnp.zeros(0, a.dtype), jnp.zeros(0, b.dtype)
    return _narrow_product(a, b, dtype, out), (a.astype(dtype), b.astype(dtype), *types)


def _product_backward(dtype: Any, out: Any, kept: Any, gradient: Array) -> tuple[Array, Array]:
    a, b, of_a, of_b = kept
    axes, lead = ((a.ndim - 1,), (b.ndim - 1,)), tuple(range(b.ndim - 2))
    gradient = gradient.astype(dtype)
    d_a = _rounded(gradient, b, axes, lead, of_a.dtype)
    return d_a, _turned_product(a, gradient, lead).astype(of_b.dtype)


_narrow_product.defvjp(_product_forward, _product_backward)
