"""A model's confidence in every word, in files next to the predictions.

`predictions/SPLIT.safetensors` has a row for each word of `predictions/SPLIT.conll`, in the same
order: `scores`, float32 (words,), the probability of the predicted label, and `logits`, float32
(words, labels), in the order of the model's id2label. `logits` is left out if a split has more
than MOST of them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from flaxner.models.tensors import read_tensor_file, write_tensors

MOST = 1 << 26  # largest number of logits to keep: 256 MiB
SUFFIX = ".safetensors"


@dataclasses.dataclass(frozen=True)
class WordScores:
    """A model's confidence in the words of a split.

    Attributes:
      scores: probability of the predicted label, float32 (W,).
      logits: float32 (W, C); None if the split has too many.
    """

    scores: np.ndarray
    logits: np.ndarray | None


def write_scores(path: Path, scores: WordScores) -> list[str]:
    """Write the file of a split; return a note about it, in one sentence, or nothing.

    Like `write_predictions`, the note has only the file's name.
    """
    tensors = {"scores": scores.scores.astype(np.float32)}
    logits = scores.logits
    if logits is not None and logits.size <= MOST:
        tensors["logits"] = logits.astype(np.float32)
    write_tensors(path, tensors)
    if len(tensors) > 1 or logits is None:
        return []
    return [f"{path.name} holds scores only: there are {logits.size:,} logits, more than {MOST:,}"]


def read_scores(path: Path, words: int) -> WordScores:
    """Read the file of a split.

    Args:
      path: the file.
      words: number of words in the split.

    Raises:
      ValueError: the file is missing or damaged, or has another number of words.
    """
    tensors = read_tensor_file(path)
    scores, logits = tensors.get("scores"), tensors.get("logits")
    if scores is None or scores.shape != (words,):
        there = "none" if scores is None else f"an array of shape {scores.shape}"
        raise ValueError(f"{path} must hold scores of {words:,} words: it holds {there}")
    if logits is not None and (logits.ndim != 2 or len(logits) != words):
        raise ValueError(
            f"{path} must hold logits of {words:,} words: they have shape {logits.shape}"
        )
    return WordScores(scores, logits)
