"""Losses over labelled positions, and labels from logits."""

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
    """How labels are learnt and decoded: `Softmax`, or `crf.Crf`."""

    def widths(self, length: int) -> dict[str, int]:
        """Return the names and widths of the arrays that the loss reads besides the encoder inputs.

        Args:
          length: L, tokens per row.
        """

    def arrays(self, rows: Rows) -> dict[str, np.ndarray]:
        """Build those arrays from packed rows: int32, (B, width)."""

    def batch_loss(
        self, params: Mapping[str, Any], logits_BLC: jax.Array, batch: Mapping[str, jax.Array], /
    ) -> tuple[jax.Array, jax.Array]:
        """Return the sums of losses and of weights; the ratio of their totals is the loss."""

    def predict(self, logits_BLC: jax.Array, /) -> jax.Array:
        """Return what the host needs to label words: labels (B, L), or the logits."""


@dataclasses.dataclass(frozen=True)
class Softmax:
    """Each word's label independently: cross-entropy and argmax.

    Attributes:
      weights: the weight of each label in the loss; None: all 1.
      smoothing: label smoothing (Szegedy et al. 2016), defined as in torch's
        cross_entropy(label_smoothing=...).
    """

    weights: tuple[float, ...] | None = None
    smoothing: float = 0.0

    def widths(self, length: int) -> dict[str, int]:
        """Labels, one per token."""
        return {"labels": length}

    def arrays(self, rows: Rows) -> dict[str, np.ndarray]:
        """Return the labels (B, L)."""
        return {"labels": rows.labels}

    def batch_loss(
        self, params: Mapping[str, Any], logits_BLC: jax.Array, batch: Mapping[str, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        """Return `loss`; this decoder has no parameters of its own."""
        return self.loss(logits_BLC, batch["labels"])

    @jax.named_scope("loss")
    def loss(self, logits_BLC: jax.Array, labels_BL: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Sum the weighted cross-entropies over the labelled positions, and sum the weights.

        The caller computes the mean, because only it knows the global sum of weights (or, without
        weights, the number of positions): a mean of means over devices or parts of a batch would
        weight words unequally.
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
        """Return the mean over all labels of their weighted losses (B, L)."""
        losses_BLC = -jax.nn.log_softmax(logits_BLC.astype(jnp.float32))
        if self.weights is None:
            return jnp.mean(losses_BLC, axis=-1)
        weights_C = jnp.asarray(self.weights, jnp.float32)
        # Divided by the weight of the word's own label, by which the caller multiplies; torch does
        # not weight this term by it.
        return jnp.mean(losses_BLC * weights_C, axis=-1) / weights_C[labels_BL]

    def predict(self, logits_BLC: jax.Array) -> jax.Array:
        """Return the most likely label of each position, int32 (B, L)."""
        return jnp.argmax(logits_BLC, axis=-1).astype(jnp.int32)


def cross_entropy(logits_BLC: jax.Array, labels_BL: jax.Array) -> jax.Array:
    """Return -log p of each label, (B, L), under the softmax of its logits.

    By default labels are looked up. The gradient of that is a scatter, for which GPUs would sort
    all positions, so there it is a product with ones and zeros, which introduces no rounding.
    """
    return jax.lax.platform_dependent(
        logits_BLC,
        labels_BL,
        cuda=by_one_hot,
        default=optax.softmax_cross_entropy_with_integer_labels,
    )


def by_one_hot(logits_BLC: jax.Array, labels_BL: jax.Array) -> jax.Array:
    """Compute `cross_entropy` without a scatter."""
    chosen_BLC = jax.nn.one_hot(labels_BL, logits_BLC.shape[-1], dtype=logits_BLC.dtype)
    return optax.softmax_cross_entropy(logits_BLC, chosen_BLC)


def label_weights(
    class_weights: Sequence[str], scheme: LabelScheme, labels: np.ndarray
) -> tuple[float, ...] | None:
    """Return the weight of every label, or None if all are 1.

    "balanced" is N / (C n) for N labelled positions, C labels that occur, and n positions with this
    label, so that every label contributes equally to the loss; "sqrt" is its square root.

    Args:
      class_weights: the setting.
      scheme: label table.
      labels: the labels of the training corpus, IGNORED_LABEL where the loss ignores them.

    Raises:
      ValueError: a weight is given for a type that is not in the label table.
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
                f"class_weights names the unknown type {kind!r}; choose from: {', '.join(known)}"
            )
    return tuple(by_type.get(OUTSIDE if t == OUTSIDE else t[2:], 1.0) for t in scheme.tags)
