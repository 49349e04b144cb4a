"""Activation functions by their names in config.json."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from flaxner.models.layers.merging import in_memory

Array = jax.Array
SQRT_HALF = 0.5**0.5


def exact_gelu(x: Array) -> Array:
    """Compute x times the normal CDF (Hendrycks and Gimpel 2016), in the same way as torch.

    `jax.nn.gelu` uses erfc, which costs an exponential; erf is a rational function.
    """
    return 0.5 * x * (1.0 + jax.lax.erf(x * SQRT_HALF))


def rounded_once(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return the function computed in float32, rounded to the dtype of x, and so its gradient.

    In bfloat16, it would round after every operation, and its constants too.
    """

    @jax.custom_vjp
    def narrow(x: Array) -> Array:
        return function(x.astype(jnp.float32)).astype(x.dtype)

    def backward(x: Array, gradient: Array) -> tuple[Array]:
        _, pull = jax.vjp(function, x.astype(jnp.float32))
        d_x = pull(gradient.astype(jnp.float32))[0].astype(x.dtype)
        return (in_memory(d_x),)  # otherwise XLA would also write it in float32, to sum the bias's

    narrow.defvjp(lambda x: (narrow(x), x), backward)
    return lambda x: function(x) if x.dtype == jnp.float32 else narrow(x)


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
