"""Turns token logits into labelled units: single tokens, or words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flaxner.data.tag_rules import Rules
from flaxner.inference import crf, viterbi
from flaxner.inference.tokens import Reading
from flaxner.inference.vocabulary import Vocabulary
from flaxner.inference.word_numbers import BLANK
from flaxner.models.crf import Scores


class Decoding(NamedTuple):
    """How to label the words of a sentence jointly: with the most likely legal sequence.

    Attributes:
      rules: which label sequences are legal.
      scores: the scores of a CRF; None: the words' log probabilities alone.
    """

    rules: Rules
    scores: Scores | None = None


class Units(NamedTuple):
    """Labelled runs of tokens: single tokens, or words.

    Attributes:
      begins: first token of each unit (U,).
      ends: the token after the last of each unit (U,).
      labels, scores: label and its probability (U,); with a CRF, its marginal probability.
      borders: first unit of each sequence, and the end of the last.
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
    temperature: float | None = None,
) -> Units:
    """Return the labelled units of a strategy.

    Args:
      reading: the tokenised texts.
      logits_TC: logits of `reading.tokens`.
      strategy: one of `aggregation.STRATEGIES`.
      vocabulary: the tokenizer's vocabulary.
      decoding: for strategy "word"; None: each word's most likely label.
      temperature: divides the logits when computing scores; None: no scaling. It does not affect
        labels and words.
    """
    tokens = reading.tokens
    size = len(tokens.input_ids)
    if strategy in ("none", "simple"):
        probs_TC = softmax(logits_TC)
        labels, every = probs_TC.argmax(axis=-1), np.arange(size)
        sure_TC = _warm(logits_TC, probs_TC, temperature)
        return Units(every, every + 1, labels, sure_TC[every, labels], tokens.borders)
    first = tokens.first
    if strategy == "word":
        first[1:] |= np.diff(tokens.words) != 0
    else:
        first |= ~vocabulary.inside_word(reading, strategy)
    begins = np.flatnonzero(first)
    ends = np.append(begins[1:], size)
    if strategy == "word":  # white space is not a word
        named = tokens.words[begins] != BLANK
        begins, ends = begins[named], ends[named]
    borders = np.searchsorted(begins, tokens.borders)
    if strategy == "word":
        labels, scores = read_words(logits_TC[begins], borders, decoding)
        if temperature is not None:
            warm_UC = softmax(logits_TC[begins] / np.float32(temperature))
            scores = warm_UC[np.arange(len(labels)), labels]
        return Units(begins, ends, labels, scores, borders)
    probs_TC = softmax(logits_TC)
    speaking = begins if strategy != "max" else _surest(probs_TC, begins, ends)

    def rows(source_TC: np.ndarray) -> np.ndarray:
        """Return each word's probabilities: its first or its surest token's, or the mean."""
        if strategy == "average" and len(source_TC):
            counts = (ends - begins).astype(source_TC.dtype)[:, None]
            return np.add.reduceat(source_TC, begins, axis=0) / counts
        return source_TC[speaking]

    labels = rows(probs_TC).argmax(axis=-1)
    sure_UC = rows(_warm(logits_TC, probs_TC, temperature))
    return Units(begins, ends, labels, sure_UC[np.arange(len(begins)), labels], borders)


def _warm(logits_TC: np.ndarray, probs_TC: np.ndarray, temperature: float | None) -> np.ndarray:
    """Return the probabilities that scores are taken from."""
    return probs_TC if temperature is None else softmax(logits_TC / np.float32(temperature))


def _surest(probs_TC: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return each word's token with the most probable label; the first one in a tie."""
    if not len(probs_TC):
        return begins
    best_T = probs_TC.max(axis=-1)
    top = np.maximum.reduceat(best_T, begins)
    hits = np.flatnonzero(best_T == np.repeat(top, ends - begins))
    return hits[np.searchsorted(hits, begins)]


def softmax(logits_TC: np.ndarray) -> np.ndarray:
    """Compute probabilities with the same float32 operations as `transformers`' pipeline."""
    shifted = np.exp(logits_TC - np.max(logits_TC, axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def read_words(
    logits_WC: np.ndarray, borders: np.ndarray, decoding: Decoding | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the label of every word, and its probability.

    Args:
      logits_WC: logits of each word's first token.
      borders: first word of each sentence, and the end of the last.
      decoding: how to decode; None: each word's most likely label.
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
