"""Activation functions by their names in config.json."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from flaxner.models.layers.merging import in_memory

Array = jax.Array
SQRT_HALF = 0.5**0.5


def exact_gelu(x: Array) -> Array:
    """Compute x times the normal CDF (Hendrycks and Gimpel 2016), in the same way as torch.

    `jax.nn.gelu` uses erfc, which costs an exponential; erf is a rational function. In bfloat16,
    the result is rounded once, and so is the gradient.
    """
    return _gelu(x) if x.dtype == jnp.float32 else _narrow_gelu(x)


def _gelu(x: Array) -> Array:
    return 0.5 * x * (1.0 + jax.lax.erf(x * SQRT_HALF))


@jax.custom_vjp
def _narrow_gelu(x: Array) -> Array:
    return _gelu(x.astype(jnp.float32)).astype(x.dtype)


def _gelu_gradient(x: Array, gradient: Array) -> tuple[Array]:
    wide = x.astype(jnp.float32)
    below = 0.5 * (1.0 + jax.lax.erf(wide * SQRT_HALF))
    density = jnp.exp(-0.5 * wide * wide) * (0.5 / math.pi) ** 0.5
    d_x = ((below + wide * density) * gradient.astype(jnp.float32)).astype(x.dtype)
    return (in_memory(d_x),)  # otherwise XLA would also write it in float32, to sum the bias's


_narrow_gelu.defvjp(lambda x: (_narrow_gelu(x), x), _gelu_gradient)


_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": exact_gelu,
    "gelu_python": exact_gelu,
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_fast": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_accurate": lambda x: jax.nn.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "relu": jax.nn.relu,
    "relu2": lambda x: jnp.square(jax.nn.relu(x)),
    "relu6": jax.nn.relu6,
    "leaky_relu": jax.nn.leaky_relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "mish": jax.nn.mish,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "linear": lambda x: x,
}

# hidden_act -> function; names as in transformers.activations.ACT2FN.
ACTIVATIONS = {
    name: jax.named_scope("activation")(function) for name, function in _FUNCTIONS.items()
}
