"""Constructors for the linear layers, norms and tables of every encoder.

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
from flaxner.models.layers.layer_norm import layer_norm
from flaxner.models.layers.lookup import Embed

Initializer = Callable[..., jax.Array]
Arrays = TypeVar("Arrays", bound=tuple[Any, ...])


@functools.cache
def truncated(scale: float, cutoff: float) -> Initializer:
    """Return a normal initializer of standard deviation `scale`, truncated at `cutoff` times it."""
    return _compiled(nnx.initializers.truncated_normal(scale, lower=-cutoff, upper=cutoff))


@functools.cache
def normal(scale: float) -> Initializer:
    """Return a normal initializer of standard deviation `scale`."""
    return _compiled(nnx.initializers.normal(scale))


def _compiled(draw: Initializer) -> Initializer:
    """Compile an initializer, so that all layers and models that draw such an array share it."""
    return jax.jit(draw, static_argnums=(1, 2))  # the shape and the dtype


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
    """Make a linear layer D -> F; `scale` is its kernel's standard deviation or initializer."""
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
    """NNX's layer norm, named in the compiled program, and with a gradient for GPUs."""

    for_gpu = False

    @jax.named_scope("layer_norm")
    def __call__(self, x: jax.Array, *, mask: jax.Array | None = None) -> jax.Array:
        """Normalise x; the shape stays the same."""
        if not self.for_gpu:
            return super().__call__(x, mask=mask)
        assert self.scale is not None
        bias = None if self.bias is None else self.bias.get_value()
        dtype = jnp.dtype(self.dtype)
        return layer_norm(x, self.scale.get_value(), bias, self.epsilon, dtype)

    def with_fixed_bias(self, x: jax.Array) -> jax.Array:
        """Compute the same result, with no gradient to the bias."""
        assert self.bias is not None
        held = nnx.clone(self)
        held.bias = nnx.Param(jax.lax.stop_gradient(self.bias.get_value()))
        return held(x)


def _widened(arrays: Arrays, /, *, dtype: Any = None, inexact: bool = True) -> Arrays:
    """Widen input, scale and bias of a norm to float32, whatever the dtype of its result.

    NNX would round all three to the dtype of the result: a scale near 1 to steps of 2^-8 or 2^-7,
    and also its gradient, which TPUs would then sum over the chips in bfloat16.
    """
    del dtype, inexact  # what NNX would use
    return jax.tree.map(lambda each: each.astype(jnp.float32), arrays)


def norm(
    width: int, epsilon: float, compute: Compute, rngs: nnx.Rngs, *, use_bias: bool = True
) -> LayerNorm:
    """Make a layer norm over the last dimension (Ba et al. 2016)."""
    # torch computes the two-pass variance too; E[x^2] - E[x]^2 suffers cancellation in float32.
    made = LayerNorm(
        width,
        epsilon=epsilon,
        use_bias=use_bias,
        dtype=jnp.dtype(compute.activation_dtype),
        param_dtype=jnp.float32,
        use_fast_variance=False,
        promote_dtype=_widened,
        rngs=rngs,
    )
    made.for_gpu = compute.kernels == "gpu"
    return made


def table(rows: int, width: int, scale: float | Initializer, rngs: nnx.Rngs) -> Embed:
    """Make a float32 table of vectors; `scale` is its standard deviation or initializer."""
    return Embed(
        rows,
        width,
        embedding_init=_initializer(scale),
        dtype=jnp.float32,
        param_dtype=jnp.float32,
        rngs=rngs,
    )
