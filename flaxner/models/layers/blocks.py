"""Linear layers, norms and tables as every encoder makes them.

Shapes: D features in, F features out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

from flaxner.models.layers.compute import Compute
from flaxner.models.layers.dense import Dense
from flaxner.models.layers.lookup import Embed

Initializer = Callable[..., jax.Array]
Arrays = TypeVar("Arrays", bound=tuple[Any, ...])


@functools.cache
def truncated(scale: float, cutoff: float) -> Initializer:
    """A normal distribution of width `scale`, cut at so many widths on both sides."""
    return _compiled(nnx.initializers.truncated_normal(scale, lower=-cutoff, upper=cutoff))


@functools.cache
def normal(scale: float) -> Initializer:
    """A normal distribution of width `scale`."""
    return _compiled(nnx.initializers.normal(scale))


def _compiled(draw: Initializer) -> Initializer:
    """One program for all layers and models that draw such an array."""
    return jax.jit(draw, static_argnums=(1, 2))  # the shape and the type


def _initializer(scale: float | Initializer) -> Initializer:
    return scale if callable(scale) else normal(scale)


def linear(
    d_in: int,
    d_out: int,
    scale: float | Initializer,
    compute: Compute,
    rngs: nnx.Rngs,
    *,
    use_bias: bool = True,
) -> Dense:
    """A linear layer D -> F; its kernel is drawn from a normal distribution of width `scale`."""
    return Dense(
        d_in,
        d_out,
        use_bias=use_bias,
        kernel_init=_initializer(scale),
        dtype=jnp.dtype(compute.dtype),
        out=jnp.dtype(compute.activation_dtype),
        tf32=compute.tf32,
        param_dtype=jnp.float32,
        rngs=rngs,
    )


class LayerNorm(nnx.LayerNorm):
    """NNX's, under a name in the compiled program."""

    @jax.named_scope("layer_norm")
    def __call__(self, x: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
        """The same shape."""
        return super().__call__(x, mask=mask)

    def with_fixed_bias(self, x: jax.Array) -> jax.Array:
        """The same result, no gradient to the bias."""
        assert self.bias is not None
        held = nnx.clone(self)
        held.bias = nnx.Param(jax.lax.stop_gradient(self.bias.get_value()))
        return held(x)


def _widened(arrays: Arrays, /, *, dtype: Any = None, inexact: bool = True) -> Arrays:
    """Input, scale and bias of a norm in float32, whatever its result is rounded to.

    NNX rounds all three to the type of the result: a scale near 1 to steps of 2^-8 or 2^-7, and
    its gradient, too, which TPUs then sum over the chips in bfloat16.
    """
    del dtype, inexact  # what NNX would take
    return jax.tree.map(lambda each: each.astype(jnp.float32), arrays)


def norm(
    width: int, epsilon: float, compute: Compute, rngs: nnx.Rngs, *, use_bias: bool = True
) -> LayerNorm:
    """Layer norm over the last dimension (Ba et al. 2016)."""
    # The two-pass variance is the one torch computes; E[x^2] - E[x]^2 cancels in float32.
    return LayerNorm(
        width,
        epsilon=epsilon,
        use_bias=use_bias,
        dtype=jnp.dtype(compute.activation_dtype),
        param_dtype=jnp.float32,
        use_fast_variance=False,
        promote_dtype=_widened,
        rngs=rngs,
    )


def table(rows: int, width: int, scale: float | Initializer, rngs: nnx.Rngs) -> Embed:
    """A table of vectors, float32, drawn from a normal distribution of width `scale`."""
    return Embed(
        rows,
        width,
        embedding_init=_initializer(scale),
        dtype=jnp.float32,
        param_dtype=jnp.float32,
        rngs=rngs,
    )
