"""A second opinion on every word, from the corpus itself; the only module with scikit-learn.

A held-out model has seen one sentence at a time, only part of the corpus, and perhaps no capital
letters. The second opinion combines its predictions for a word and its neighbours with how similar
words are annotated elsewhere: the same word, the same letter shape, the same ending, the same
neighbours. A logistic regression learns from the annotations themselves how informative each of
these is (stacking: Wolpert 1992), and predicts sentences that it was not trained on. So it needs no
hand-set weights, and it learns where the model is overconfident.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from flaxner.audit.held_out import HeldOut
from flaxner.audit.views import VIEWS
from flaxner.data.labels import LabelScheme
from flaxner.data.tags import to_iob2

FOLDS = 5
LEARNT_FROM = 100_000  # words that a fold is trained on, at most
PART = 20_000  # words whose features are in memory at once, at least
SMALLEST = 1e-6  # lower bound on probabilities
RAREST = 1e-3  # added to each label's share of the corpus
PENALTY = 0.1  # scikit-learn's C; docs/audit.md explains how it and the views were chosen
NAME = "the second opinion"


def second_opinion(sentences: Sequence[HeldOut], scheme: LabelScheme) -> list[HeldOut]:
    """Return the sentences with better probabilities, or unchanged if there are none.

    Args:
      sentences: sentences with the probabilities of a model that has not seen them.
      scheme: label table.

    Returns:
      the sentences in the same order. `probs` and `predicted` come from the second opinion if it
      predicts the annotations of sentences that it has not seen better than the model does.
    """
    fold_of = np.random.default_rng(0).integers(0, FOLDS, len(sentences))
    labels = [scheme.encode(sentence.tags) for sentence in sentences]
    evidence = _Evidence(sentences, labels, len(scheme))
    probs: list[np.ndarray] = [np.zeros(0)] * len(sentences)
    for fold in range(FOLDS):
        asked = np.flatnonzero(fold_of == fold).tolist()
        learnt = _learnt(evidence, np.flatnonzero(fold_of != fold), fold)
        if learnt is None:
            return list(sentences)
        for part in evidence.parts(asked):
            made = np.split(learnt(evidence.features(part)), evidence.borders(part))
            for i, own in zip(part, made, strict=True):
                probs[i] = own
    if _surprise(probs, labels) >= _surprise([s.probs for s in sentences], labels):
        return list(sentences)
    return [_with_opinion(*pair, scheme) for pair in zip(sentences, probs, strict=True)]


def _with_opinion(sentence: HeldOut, probs_WC: np.ndarray, scheme: LabelScheme) -> HeldOut:
    predicted = to_iob2(scheme.decode(probs_WC.argmax(-1)))
    return dataclasses.replace(sentence, probs=probs_WC, predicted=predicted, by=NAME)


def _surprise(probs: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> float:
    """Return the mean negative log-probability of the annotation."""
    own = np.concatenate([p[np.arange(len(y)), y] for p, y in zip(probs, labels, strict=True)])
    return float(-np.log(np.maximum(own, SMALLEST)).mean())


def _learnt(
    evidence: _Evidence, numbers: np.ndarray, seed: int
) -> Callable[[np.ndarray], np.ndarray] | None:
    """Learn features (W, F) -> probabilities (W, C) from these sentences, or from part of them.

    Returns:
      the function; None if the sentences have fewer than two different labels.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    order = np.random.default_rng(seed).permutation(numbers).tolist()
    some = next(evidence.parts(order, LEARNT_FROM), [])
    labels = evidence.labels(some)
    if len(np.unique(labels)) < 2:
        return None
    features = evidence.features(some)
    mean, scale = features.mean(0), features.std(0) + SMALLEST
    model = LogisticRegression(C=PENALTY, max_iter=200)
    # Near convergence is good enough; and one thread is faster than several that wait for another.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((features - mean) / scale, labels)

    def asked(features_WF: np.ndarray) -> np.ndarray:
        probs = np.zeros((len(features_WF), evidence.size), np.float32)
        probs[:, model.classes_] = model.predict_proba((features_WF - mean) / scale)
        return probs

    return asked


class _Evidence:
    """What is known about every word apart from its own annotation.

    Args:
      sentences: sentences of the corpus.
      labels: labels of each sentence, int32 (W,).
      size: number of labels, C.
    """

    def __init__(
        self, sentences: Sequence[HeldOut], labels: Sequence[np.ndarray], size: int
    ) -> None:
        self._sentences, self._labels, self.size = sentences, labels, size
        every = np.concatenate([np.zeros(0, np.int32), *labels])
        share = np.bincount(every, minlength=size) / max(1, len(every)) + RAREST
        self._share = share / share.sum()
        self._views = [_View(view, sentences, labels, size) for view in VIEWS]

    def labels(self, numbers: Sequence[int]) -> np.ndarray:
        """Return the labels of these sentences' words, (W,)."""
        return np.concatenate([np.zeros(0, np.int32), *(self._labels[i] for i in numbers)])

    def parts(self, numbers: Sequence[int], words: int = PART) -> Iterator[list[int]]:
        """Yield these sentences in parts, each ending with the sentence that reaches `words`."""
        part, count = list[int](), 0
        for number in numbers:
            part.append(number)
            count += len(self._labels[number])
            if count >= words:
                yield part
                part, count = [], 0
        if part:
            yield part

    def borders(self, numbers: Sequence[int]) -> np.ndarray:
        """Return where the words of each of these sentences begin, except the first."""
        return np.cumsum([len(self._labels[i]) for i in numbers])[:-1]

    def features(self, numbers: Sequence[int]) -> np.ndarray:
        """Return the features of these sentences' words, float32 (W, F)."""
        probs_WC = np.concatenate([self._sentences[i].probs for i in numbers])
        model = np.log(np.maximum(probs_WC, SMALLEST))
        model -= model.mean(-1, keepdims=True)
        sentence_W = np.repeat(np.arange(len(numbers)), [len(self._labels[i]) for i in numbers])
        beside = (sentence_W[1:] == sentence_W[:-1])[:, None]  # in one sentence
        nothing = np.zeros((1, self.size))
        left = np.concatenate([nothing, np.where(beside, model[:-1], 0)])
        right = np.concatenate([np.where(beside, model[1:], 0), nothing])
        views = [view.odds(numbers, self._share) for view in self._views]
        return np.concatenate([model, left, right, *views], axis=-1).astype(np.float32)


class _View:
    """How words with the same key are annotated elsewhere.

    Args:
      keys: function from the words of a sentence to their keys.
      sentences: sentences of the corpus.
      labels: labels of each sentence, int32 (W,).
      size: number of labels, C.
    """

    def __init__(
        self,
        keys: Callable[[Sequence[str]], list[str]],
        sentences: Sequence[HeldOut],
        labels: Sequence[np.ndarray],
        size: int,
    ) -> None:
        rows: dict[str, int] = {}
        self._labels = labels
        self._rows = [
            np.asarray([rows.setdefault(key, len(rows)) for key in keys(s.words)], np.int64)
            for s in sentences
        ]
        self._counts = np.zeros((len(rows), size), np.float32)
        for own, tags in zip(self._rows, labels, strict=True):
            np.add.at(self._counts, (own, tags), 1)

    def odds(self, numbers: Sequence[int], share_C: np.ndarray) -> np.ndarray:
        """Return the log of each label's share elsewhere over its share in the corpus, (W, C).

        For smoothing, one extra occurrence is distributed like the whole corpus.
        """
        labels = np.concatenate([self._labels[i] for i in numbers])
        rows = np.concatenate([self._rows[i] for i in numbers])
        counts = self._counts[rows].astype(np.float64)
        counts[np.arange(len(labels)), labels] -= 1
        shares = (counts + share_C) / (counts.sum(-1, keepdims=True) + 1)
        return np.log(shares / share_C)
