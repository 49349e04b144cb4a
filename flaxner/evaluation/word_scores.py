"""How sure a model was of every word: files beside the predictions, for whoever looks at them.

`predictions/SPLIT.safetensors` has a row for each word of `predictions/SPLIT.conll`, in its order:
`scores`, float32 (words,), the probability of the predicted label, and `logits`, float32
(words, labels), in the order of the model's id2label. A split with more than MOST of them has no
`logits`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from flaxner.models.tensors import read_tensor_file, write_tensors

MOST = 1 << 26  # logits that are kept: 256 MiB
SUFFIX = ".safetensors"


@dataclasses.dataclass(frozen=True)
class WordScores:
    """How sure a model was of the words of a split.

    Attributes:
      scores: probability of the predicted label, float32 (W,).
      logits: float32 (W, C); None of a split that has too many.
    """

    scores: np.ndarray
    logits: np.ndarray | None


def write_scores(path: Path, scores: WordScores) -> list[str]:
    """Write the file of a split; gives what is to be said of it, one sentence or none."""
    tensors = {"scores": scores.scores.astype(np.float32)}
    logits = scores.logits
    if logits is not None and logits.size <= MOST:
        tensors["logits"] = logits.astype(np.float32)
    write_tensors(path, tensors)
    if len(tensors) > 1 or logits is None:
        return []
    return [f"{path} holds scores without the {logits.size:,} logits, more than {MOST:,}"]


def read_scores(path: Path, words: int) -> WordScores:
    """Read the file of a split.

    Args:
      path: the file.
      words: that the split has.

    Raises:
      ValueError: not there, damaged, or of another number of words.
    """
    tensors = read_tensor_file(path)
    scores, logits = tensors.get("scores"), tensors.get("logits")
    if scores is None or scores.shape != (words,):
        there = "none" if scores is None else f"an array of shape {scores.shape}"
        raise ValueError(f"{path} must hold the scores of {words:,} words: it holds {there}")
    if logits is not None and (logits.ndim != 2 or len(logits) != words):
        raise ValueError(
            f"{path} must hold logits of {words:,} words: their shape is {logits.shape}"
        )
    return WordScores(scores, logits)
