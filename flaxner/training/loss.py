"""Losses over labelled positions and labels out of logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from flaxner.config.data import WEIGHTINGS, weights_of_types
from flaxner.data.labels import LabelScheme
from flaxner.data.packing import Rows
from flaxner.data.segments import IGNORED_LABEL
from flaxner.data.tags import OUTSIDE


class Decoder(Protocol):
    """How labels are learnt and read: `Softmax`, or `crf.Crf`."""

    def widths(self, length: int) -> dict[str, int]:
        """Return the arrays that the loss reads beside the encoder's inputs, and their widths.

        Args:
          length: L, tokens of a row.
        """

    def arrays(self, rows: Rows) -> dict[str, np.ndarray]:
        """Make those arrays of packed rows: int32, (B, width)."""

    def batch_loss(
        self, params: Mapping[str, Any], logits_BLC: jax.Array, batch: Mapping[str, jax.Array], /
    ) -> tuple[jax.Array, jax.Array]:
        """Sum of losses and sum of weights, the quotient of whose totals is the loss."""

    def predict(self, logits_BLC: jax.Array, /) -> jax.Array:
        """What the host needs to label words: labels (B, L), or the logits."""


@dataclasses.dataclass(frozen=True)
class Softmax:
    """Each word's label on its own: cross-entropy, argmax.

    Attributes:
      weights: of each label in the loss; None: all 1.
      smoothing: share of each word's loss that all labels have alike (Szegedy et al. 2016), as
        torch's cross_entropy(label_smoothing=...) has it.
    """

    weights: tuple[float, ...] | None = None
    smoothing: float = 0.0

    def widths(self, length: int) -> dict[str, int]:
        """Labels, one per token."""
        return {"labels": length}

    def arrays(self, rows: Rows) -> dict[str, np.ndarray]:
        """The labels (B, L)."""
        return {"labels": rows.labels}

    def batch_loss(
        self, params: Mapping[str, Any], logits_BLC: jax.Array, batch: Mapping[str, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        """As `loss`; there are no parameters but the network's."""
        return self.loss(logits_BLC, batch["labels"])

    @jax.named_scope("loss")
    def loss(self, logits_BLC: jax.Array, labels_BL: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Sum of weighted cross-entropies over the labelled positions, and sum of the weights.

        The mean is left to the caller, who alone knows the global sum of weights (without any,
        the count of positions): a mean of means over devices or parts of a batch would weigh
        words unequally.
        """
        labelled_BL = labels_BL != IGNORED_LABEL
        safe_BL = jnp.where(labelled_BL, labels_BL, 0)
        losses_BL = cross_entropy(logits_BLC.astype(jnp.float32), safe_BL)
        if self.smoothing:
            losses_BL = (1 - self.smoothing) * losses_BL
            losses_BL += self.smoothing * self._mean_over_labels(logits_BLC, safe_BL)
        if self.weights is None:
            return jnp.sum(losses_BL, where=labelled_BL), jnp.sum(labelled_BL)
        weights_BL = jnp.where(labelled_BL, jnp.asarray(self.weights, jnp.float32)[safe_BL], 0.0)
        return jnp.sum(losses_BL * weights_BL), jnp.sum(weights_BL)

    def _mean_over_labels(self, logits_BLC: jax.Array, labels_BL: jax.Array) -> jax.Array:
        """The mean of the losses of all labels (B, L), weighed by each one's own weight."""
        losses_BLC = -jax.nn.log_softmax(logits_BLC.astype(jnp.float32))
        if self.weights is None:
            return jnp.mean(losses_BLC, axis=-1)
        weights_C = jnp.asarray(self.weights, jnp.float32)
        # The caller multiplies by the weight of the word's own label, which torch does not here.
        return jnp.mean(losses_BLC * weights_C, axis=-1) / weights_C[labels_BL]

    def predict(self, logits_BLC: jax.Array) -> jax.Array:
        """The likeliest label of each position, int32 (B, L)."""
        return jnp.argmax(logits_BLC, axis=-1).astype(jnp.int32)


def cross_entropy(logits_BLC: jax.Array, labels_BL: jax.Array) -> jax.Array:
    """-log p of each label, (B, L), by the softmax of its logits.

    Labels are looked up, and the gradient of that is a scatter, for which GPUs would sort all
    positions. There it is a product with ones and zeros, which rounds nothing.
    """
    return jax.lax.platform_dependent(
        logits_BLC,
        labels_BL,
        cuda=by_one_hot,
        default=optax.softmax_cross_entropy_with_integer_labels,
    )


def by_one_hot(logits_BLC: jax.Array, labels_BL: jax.Array) -> jax.Array:
    """As `cross_entropy`, without a scatter."""
    chosen_BLC = jax.nn.one_hot(labels_BL, logits_BLC.shape[-1], dtype=logits_BLC.dtype)
    return optax.softmax_cross_entropy(logits_BLC, chosen_BLC)


def label_weights(
    class_weights: Sequence[str], scheme: LabelScheme, labels: np.ndarray
) -> tuple[float, ...] | None:
    """The weight of every label, or None where all are 1.

    "balanced" is N / (C n): N labelled positions, C labels that occur, n positions of this one,
    so that every label has an equal part in the loss; "sqrt" is its square root.

    Args:
      class_weights: the setting.
      scheme: label table.
      labels: of the training corpus, IGNORED_LABEL where the loss does not look.

    Raises:
      ValueError: a weight for a type that the label table has not.
    """
    (name, *_) = class_weights or ("none",)
    if name == WEIGHTINGS[0]:
        return None
    if name in WEIGHTINGS:
        counts = np.bincount(labels[labels != IGNORED_LABEL], minlength=len(scheme))
        there = counts > 0
        weights = np.ones(len(scheme))
        weights[there] = counts.sum() / (there.sum() * counts[there])
        return tuple((np.sqrt(weights) if name == "sqrt" else weights).tolist())
    by_type = weights_of_types(tuple(class_weights))
    known = (OUTSIDE, *scheme.types)
    for kind in by_type:
        if kind not in known:
            raise ValueError(
                f"class_weights names the type {kind!r}; the label table has {', '.join(known)}"
            )
    return tuple(by_type.get(OUTSIDE if t == OUTSIDE else t[2:], 1.0) for t in scheme.tags)
