"""Matrix products with narrow operands, but with sums and weight gradients in float32.

In bfloat16, every product, forward and backward, takes bfloat16 operands, accumulates in float32
and is rounded once to the dtype of the activations. The gradient of a kernel is not rounded at
all, so it is summed over devices in float32. Under JAX's own rules, gradients would mix the two
dtypes or be rounded before they are summed, and would not use the bfloat16 kernels of XLA's CPU
backend, which only exist with a float32 result.

In float32, products really are float32 on every back end: by default, NVIDIA GPUs would round
operands to TF32 (10 mantissa bits) and TPUs to bfloat16 (7). At the highest precision, GPUs
multiply in float32, and TPUs use six bfloat16 products that add up to a float32 one.

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
    """`nnx.Linear` based on `product`: operands in `dtype`, result in the dtype `out`."""

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


@jax.custom_vjp
def add_bias(y: Array, bias: Array) -> Array:
    """Add a float32 bias, broadcast to y, and round to the dtype of y.

    The gradient of the bias is summed in float32 over rows and positions, also over devices.
    """
    return (y.astype(jnp.float32) + bias).astype(y.dtype)


def _bias_gradient(bias: Array, gradient: Array) -> tuple[Array, Array]:
    # JAX's own rule would widen the gradient of y and round it again, which XLA keeps.
    spread = jax.linear_transpose(lambda bias: jnp.broadcast_to(bias, gradient.shape), bias)
    return gradient, spread(gradient.astype(jnp.float32))[0]


add_bias.defvjp(lambda y, bias: (add_bias(y, bias), bias), _bias_gradient)


def product(a: Array, b: Array, dtype: Any, out: Any, *, tf32: bool = False) -> Array:
    """Multiply a_...MK by b_KN, or by b_...KN with equal leading dimensions.

    Args:
      a, b: activations, or a layer's float32 kernel.
      dtype: of the operands.
      out: dtype of the result.
      tf32: allow rounding float32 operands to TF32, which only NVIDIA GPUs have.
    """
    if jnp.dtype(dtype) == jnp.float32:
        precision = jax.lax.DotAlgorithmPreset.TF32_TF32_F32 if tf32 else jax.lax.Precision.HIGHEST
        multiply = functools.partial(jnp.matmul, precision=precision)
        return _by_lines(multiply, a.astype(dtype), b).astype(out)
    return _narrow_product(a, b, jnp.dtype(dtype), jnp.dtype(out))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def rounded_together(kernels: list[Array], dtype: Any) -> list[Array]:
    """Round kernels to the dtype that `product` uses, but return them in their own dtype.

    Gradients keep the kernels' dtype as well. On NVIDIA GPUs, all kernels of one shape are rounded
    in a single launch instead of one each. Other devices get the kernels unchanged and round them
    when they multiply.
    """

    def together(kernels: list[Array]) -> list[Array]:
        narrow = [kernel.astype(dtype) for kernel in by_ones(kernels)]
        narrow = jax.lax.optimization_barrier(narrow)  # otherwise XLA rounds each where it is read
        return [one.astype(kernel.dtype) for one, kernel in zip(narrow, kernels, strict=True)]

    return jax.lax.platform_dependent(kernels, cuda=together, default=lambda kernels: kernels)


def _rounded_forward(kernels: list[Array], dtype: Any) -> tuple[list[Array], None]:
    return rounded_together(kernels, dtype), None


rounded_together.defvjp(_rounded_forward, lambda dtype, kept, gradients: (gradients,))


def _by_lines(multiply: Callable[[Array, Array], Array], a: Array, b: Array) -> Array:
    """Multiply; on CPUs, flatten the leading dimensions of a if b is a single matrix.

    The gradient of b sums over all leading dimensions of a: if there are several, XLA's CPU
    backend first transposes and copies an operand. The TPU compiler chooses layouts by these
    dimensions, so they are kept elsewhere.
    """
    if b.ndim > 2 or a.ndim == 2:
        return multiply(a, b)

    def flat(a: Array, b: Array) -> Array:
        return multiply(a.reshape(-1, a.shape[-1]), b).reshape(*a.shape[:-1], b.shape[-1])

    return jax.lax.platform_dependent(a, b, cpu=flat, default=multiply)


def _wide(
    a: Array, b: Array, axes: tuple[Any, Any], batch: tuple[int, ...] = (), out: Any = jnp.float32
) -> Array:
    # At a lower precision, TPUs would treat float16 as bfloat16; bfloat16 itself has only one.
    return jax.lax.dot_general(
        a,
        b,
        (axes, (batch, batch)),
        precision=None if a.dtype == jnp.bfloat16 else jax.lax.Precision.HIGHEST,
        preferred_element_type=out,
    )


def _rounded(a: Array, b: Array, axes: tuple[Any, Any], batch: tuple[int, ...], out: Any) -> Array:
    """Multiply, sum in float32 and round to a dtype.

    If the product itself has that dtype, NVIDIA's libraries do all this in one kernel; if not, they
    write float32 for another kernel to convert, which is 17% of BERT-base's memory traffic.
    """

    def here(a: Array, b: Array) -> Array:
        return _wide(a, b, axes, batch, out)

    def after(a: Array, b: Array) -> Array:
        return _wide(a, b, axes, batch).astype(out)

    if out == jnp.float32:
        return here(a, b)
    return jax.lax.platform_dependent(a, b, cuda=here, default=after)


def _turned_product(a: Array, b: Array, lead: tuple[int, ...]) -> Array:
    """Multiply the transpose of a_...MK by b_...MN, summed over all axes but `lead`: float32 ...KN.

    XLA's CPU backend has no bfloat16 kernel for this order and falls back to the float32 one, half
    as fast. It would fold a plain transpose back into the product, but cannot do so with
    interleaved halves and copies those instead. The TPU compiler chooses layouts by the axes, so
    flattening them first would cost copies there.
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
    # Empty arrays carry the dtypes that the gradients must have to the backward pass.
    types = jnp.zeros(0, a.dtype), jnp.zeros(0, b.dtype)
    return _narrow_product(a, b, dtype, out), (a.astype(dtype), b.astype(dtype), *types)


def _product_backward(dtype: Any, out: Any, kept: Any, gradient: Array) -> tuple[Array, Array]:
    a, b, of_a, of_b = kept
    axes, lead = ((a.ndim - 1,), (b.ndim - 1,)), tuple(range(b.ndim - 2))
    gradient = gradient.astype(dtype)
    d_a = _rounded(gradient, b, axes, lead, of_a.dtype)
    return d_a, _turned_product(a, gradient, lead).astype(of_b.dtype)


_narrow_product.defvjp(_product_forward, _product_backward)
