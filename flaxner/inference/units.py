"""Probabilities of tokens -> labelled runs of tokens: single tokens, or words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flaxner.data.tag_rules import Rules
from flaxner.inference import crf, viterbi
from flaxner.inference.tokens import Reading
from flaxner.inference.vocabulary import Vocabulary
from flaxner.models.crf import Scores


class Decoding(NamedTuple):
    """How the words of a sentence get their labels together: the likeliest legal sequence.

    Attributes:
      rules: what label sequences are legal.
      scores: of a CRF; None: the words' log probabilities alone.
    """

    rules: Rules
    scores: Scores | None = None


class Units(NamedTuple):
    """Labelled runs of tokens: single tokens, or words.

    Attributes:
      begins: first token of each unit (U,).
      ends: end token of each unit (U,).
      labels, scores: label and its probability (U,); with a CRF its marginal probability.
      borders: where the units of each sequence begin, and the end of the last.
    """

    begins: np.ndarray
    ends: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    borders: np.ndarray


def make_units(
    reading: Reading,
    logits_TC: np.ndarray,
    strategy: str,
    vocabulary: Vocabulary,
    decoding: Decoding | None = None,
) -> Units:
    """The units of a strategy, each with its label.

    Args:
      reading: the tokenised texts.
      logits_TC: logits of `reading.tokens`.
      strategy: one of `aggregation.STRATEGIES`.
      vocabulary: of the tokenizer.
      decoding: of strategy "word"; None: each word's likeliest label.
    """
    tokens = reading.tokens
    size = len(tokens.input_ids)
    if strategy in ("none", "simple"):
        probs_TC = softmax(logits_TC)
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
    if strategy == "word":
        return Units(begins, ends, *read_words(logits_TC[begins], borders, decoding), borders)
    rows_UC = _rows(softmax(logits_TC), begins, ends, strategy)
    labels = rows_UC.argmax(axis=-1)
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


def read_words(
    logits_WC: np.ndarray, borders: np.ndarray, decoding: Decoding | None
) -> tuple[np.ndarray, np.ndarray]:
    """The label of every word, and its probability.

    Args:
      logits_WC: of the first tokens of all words.
      borders: where each sentence begins, and the end of the last.
      decoding: how; None: each word's likeliest label.
    """
    probs_WC = softmax(logits_WC)
    if decoding is None:
        labels = probs_WC.argmax(axis=-1)
    elif decoding.scores is not None:
        wide_WC = logits_WC.astype(np.float64)
        log_probs_WC = wide_WC - np.logaddexp.reduce(wide_WC, axis=-1, keepdims=True)
        return crf.read(log_probs_WC, borders, decoding.rules, decoding.scores)
    else:
        with np.errstate(divide="ignore"):
            labels = viterbi.decode(np.log(probs_WC), borders, decoding.rules)
    return labels, probs_WC[np.arange(len(labels)), labels]
