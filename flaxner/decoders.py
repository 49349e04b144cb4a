"""Losses over labelled positions and labels out of logits."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import optax

from flaxner.alignment import IGNORED_LABEL


@dataclasses.dataclass(frozen=True)
class Softmax:
    """Each word's label on its own: cross-entropy, argmax.

    Attributes:
      weights: of each label in the loss; None: all 1.
    """

    weights: tuple[float, ...] | None = None

    def loss(self, logits_BLC: jax.Array, labels_BL: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Sum of weighted cross-entropies over the labelled positions, and sum of the weights.

        The mean is left to the caller, who alone knows the global sum of weights (without any,
        the count of positions): a mean of means over devices or parts of a batch would weigh
        words unequally.
        """
        labelled_BL = labels_BL != IGNORED_LABEL
        safe_BL = jnp.where(labelled_BL, labels_BL, 0)
        losses_BL = optax.softmax_cross_entropy_with_integer_labels(
            logits_BLC.astype(jnp.float32), safe_BL
        )
        if self.weights is None:
            return jnp.sum(losses_BL, where=labelled_BL), jnp.sum(labelled_BL)
        weights_BL = jnp.where(labelled_BL, jnp.asarray(self.weights, jnp.float32)[safe_BL], 0.0)
        return jnp.sum(losses_BL * weights_BL), jnp.sum(weights_BL)

    def decode(self, logits_BLC: jax.Array) -> jax.Array:
        """The likeliest label of each position, int32 (B, L)."""
        return jnp.argmax(logits_BLC, axis=-1).astype(jnp.int32)


DECODERS = {"softmax": Softmax}
