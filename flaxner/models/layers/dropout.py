"""Inverted dropout (Srivastava et al. 2014) with eight random bits per element.

The mask needs a quarter of the random words that `jax.random.bernoulli` draws. The rate is
rounded to a multiple of 1/256 below 1 (0.1 becomes 26/256 = 0.1016), and kept values are scaled
according to the rounded rate, so the expectation of the output is exact.

TPUs assign bytes to elements differently: there, spreading the bytes of a word over the last
dimension would move every element across lanes.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from flaxner.models.layers.rounding import scaled_once

LEVELS = 256


@jax.named_scope("dropout")
def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Zero each element with probability `rate` and scale the others; identity if key is None.

    Args:
      x: any shape; the last dimension should be a multiple of 4.
      rate: probability in [0, 1).
      key: PRNG key, or None for inference.
    """
    return dropped(x, rate, random_levels(x.shape, rate, key))


def threshold(rate: float) -> int:
    """Return the number of levels that are dropped: `rate` of LEVELS, but never all of them."""
    return min(round(rate * LEVELS), LEVELS - 1)


def random_levels(shape: tuple[int, ...], rate: float, key: jax.Array | None) -> jax.Array | None:
    """Draw a random byte per element for `dropped` to decide by; None if nothing is dropped."""
    if key is None or threshold(rate) == 0:
        return None
    tpu = bytes_by_rows if len(shape) > 1 and shape[-2] % 4 == 0 else bytes_by_lanes
    return jax.lax.platform_dependent(
        key, tpu=lambda key: tpu(key, shape), default=lambda key: bytes_by_lanes(key, shape)
    )


def dropped(x: jax.Array, rate: float, levels: jax.Array | None) -> jax.Array:
    """Apply dropout with given levels of the shape of x; identity if there are none."""
    if levels is None:
        return x
    least = threshold(rate)
    kept = jnp.where(levels >= least, x, jnp.zeros((), x.dtype))
    # The factor is 1.1130 for a rate of 0.1, which bfloat16 would round to 1.1094.
    return scaled_once(kept, LEVELS / (LEVELS - least))


def bytes_by_lanes(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw random bytes; the four of a word are neighbours in the last dimension."""
    words = jax.random.bits(key, (*shape[:-1], -(-shape[-1] // 4)), jnp.uint32)
    bytes_ = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(*shape[:-1], -1)
    return bytes_[..., : shape[-1]]


def bytes_by_rows(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw random bytes; the four of a word are a quarter of the second-to-last dimension apart."""
    *outer, rows, lanes = shape
    words = jax.random.bits(key, (*outer, 1, rows // 4, lanes), jnp.uint32)
    shifts = jnp.arange(0, 32, 8, dtype=jnp.uint32)[:, None, None]
    return ((words >> shifts) & (LEVELS - 1)).astype(jnp.uint8).reshape(shape)
