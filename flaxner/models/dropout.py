"""Inverted dropout (Srivastava et al. 2014) with eight random bits an element.

The mask costs a quarter of the random words that `jax.random.bernoulli` draws. The rate is
rounded to a multiple of 1/256 (0.1 becomes 26/256 = 0.1016) and the kept values are scaled by
that same rounded rate, so the expectation of the output is exact.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

LEVELS = 256


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Zero each element with probability `rate` and scale the others; identity if key is None.

    Args:
      x: any shape; the last dimension should be a multiple of 4.
      rate: probability in [0, 1).
      key: PRNG key, or None for inference.
    """
    threshold = round(rate * LEVELS)
    if key is None or threshold == 0:
        return x
    words = jax.random.bits(key, (*x.shape[:-1], -(-x.shape[-1] // 4)), jnp.uint32)
    bytes_ = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(*x.shape[:-1], -1)
    keep = bytes_[..., : x.shape[-1]] >= threshold
    return jnp.where(keep, x * (LEVELS / (LEVELS - threshold)), jnp.zeros((), x.dtype))
