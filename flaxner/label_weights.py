"""Weights of the labels in the loss, for corpora in which some types are rare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flaxner.alignment import IGNORED_LABEL
from flaxner.data_settings import WEIGHTINGS, weights_of_types
from flaxner.labels import OUTSIDE, LabelScheme


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
