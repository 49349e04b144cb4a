"""Probabilities of tokens -> labelled runs of tokens: single tokens, or words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flaxner.data.tag_rules import Rules
from flaxner.inference import viterbi
from flaxner.inference.tokens import Reading
from flaxner.inference.vocabulary import Vocabulary


class Units(NamedTuple):
    """Labelled runs of tokens: single tokens, or words.

    Attributes:
      begins: first token of each unit (U,).
      ends: end token of each unit (U,).
      labels, scores: label and its probability (U,).
      borders: where the units of each sequence begin, and the end of the last.
    """

    begins: np.ndarray
    ends: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    borders: np.ndarray


def make_units(
    reading: Reading,
    probs_TC: np.ndarray,
    strategy: str,
    vocabulary: Vocabulary,
    rules: Rules | None = None,
) -> Units:
    """The units of a strategy, each with its label.

    Args:
      reading: the tokenised texts.
      probs_TC: probabilities of `reading.tokens`.
      strategy: one of `aggregation.STRATEGIES`.
      vocabulary: of the tokenizer.
      rules: of strategy "word": what label sequences are legal; None: each word's likeliest.
    """
    tokens = reading.tokens
    size = len(tokens.input_ids)
    if strategy in ("none", "simple"):
        labels, every = probs_TC.argmax(axis=-1), np.arange(size)
        return Units(every, every + 1, labels, probs_TC[every, labels], tokens.borders)
    first = tokens.first
    if strategy == "word":
        first[1:] |= np.diff(tokens.words) != 0
    else:
        first |= ~vocabulary.inside_word(reading, strategy)
    begins = np.flatnonzero(first)
    ends = np.append(begins[1:], size)
    borders = np.searchsorted(begins, tokens.borders)
    rows_UC = _rows(probs_TC, begins, ends, strategy)
    labels = best_labels(rows_UC, borders, rules if strategy == "word" else None)
    return Units(begins, ends, labels, rows_UC[np.arange(len(begins)), labels], borders)


def _rows(probs_TC: np.ndarray, begins: np.ndarray, ends: np.ndarray, strategy: str) -> np.ndarray:
    """The probabilities that speak for each word: its first token's, the surest's, the mean."""
    if strategy == "max" and len(probs_TC):
        best_T = probs_TC.max(axis=-1)
        top = np.maximum.reduceat(best_T, begins)
        hits = np.flatnonzero(best_T == np.repeat(top, ends - begins))
        return probs_TC[hits[np.searchsorted(hits, begins)]]
    if strategy == "average" and len(probs_TC):
        counts = (ends - begins).astype(probs_TC.dtype)[:, None]
        return np.add.reduceat(probs_TC, begins, axis=0) / counts
    return probs_TC[begins]


def softmax(logits_TC: np.ndarray) -> np.ndarray:
    """Probabilities, by the same float32 operations as `transformers`' pipeline."""
    shifted = np.exp(logits_TC - np.max(logits_TC, axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def best_labels(probs_UC: np.ndarray, borders: np.ndarray, rules: Rules | None) -> np.ndarray:
    """Each unit's likeliest label; under rules the likeliest legal labels of each sequence."""
    if rules is None:
        return probs_UC.argmax(axis=-1)
    with np.errstate(divide="ignore"):
        return viterbi.decode(np.log(probs_UC), borders, rules)
