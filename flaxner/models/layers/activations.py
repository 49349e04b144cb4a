"""Activation functions by their names in config.json."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from flaxner.models.layers.rounding import rounded_once

Array = jax.Array
SQRT_HALF = 0.5**0.5


def exact_gelu(x: Array) -> Array:
    """Compute x times the normal CDF (Hendrycks and Gimpel 2016), in the same way as torch.

    `jax.nn.gelu` uses erfc, which costs an exponential; erf is a rational function.
    """
    return 0.5 * x * (1.0 + jax.lax.erf(x * SQRT_HALF))


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
    name: jax.named_scope("activation")(rounded_once(function))
    for name, function in _FUNCTIONS.items()
}
