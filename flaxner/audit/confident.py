"""Confident learning (Northcutt et al. 2021); the only module that imports cleanlab."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence

import numpy as np

from flaxner.audit.held_out import HeldOut
from flaxner.data.labels import LabelScheme

Word = tuple[int, int]  # index of the sentence, and of the word in it, both from 0


def require_cleanlab() -> None:
    """Check that cleanlab is installed, before anything is read.

    Raises:
      ValueError: it is not installed.
    """
    try:
        import cleanlab.token_classification.filter  # noqa: F401
    except ImportError as error:
        raise ValueError("an audit needs cleanlab: pip install 'flaxner[audit]'") from error


def doubted_words(sentences: Sequence[HeldOut], scheme: LabelScheme) -> list[Word]:
    """Return the words whose labels cleanlab considers wrong, the most likely error first."""
    from cleanlab.token_classification.filter import find_label_issues

    labels = [scheme.encode(sentence.tags).tolist() for sentence in sentences]
    probs = [np.asarray(sentence.probs, np.float64) for sentence in sentences]
    if len({label for row in labels for label in row}) < 2:
        return []
    with contextlib.redirect_stdout(io.StringIO()):  # it prints advice
        doubts = find_label_issues(labels, probs, n_jobs=1)
    return [(int(sentence), int(word)) for sentence, word in doubts]
