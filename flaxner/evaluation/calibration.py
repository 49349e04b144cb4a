"""Calibration of entity scores, and the temperature that improves it.

Scores are calibrated if, for example, four in five entities with a score of 0.8 are correct.
Dividing the logits by one number, the temperature, makes a model less confident (above 1) or more
confident (below 1) and leaves every label unchanged (Guo et al. 2017, On Calibration of Modern
Neural Networks).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from flaxner.data.tags import Span
from flaxner.evaluation.predictions import Predicted
from flaxner.inference.units import softmax

BINS = 10
LOWEST, HIGHEST = 0.1, 10.0  # range of temperatures searched
GRID, ZOOMS = 33, 3  # grid points per pass, and passes, each around the best point of the last
ENOUGH = 20  # fewest entities to fit a temperature on


class Bin(NamedTuple):
    """Entities whose scores lie in [low, high); the last bin includes 1.

    Attributes:
      low, high: boundaries of the bin.
      entities: number of entities in it.
      score: their mean score.
      right: fraction of them that are correct.
    """

    low: float
    high: float
    entities: int
    score: float
    right: float


@dataclasses.dataclass(frozen=True)
class Found:
    """The entities that a model found in a corpus.

    Attributes:
      right: whether the corpus has the entity with the same boundaries and type (E,).
      words: word numbers (rows of `logits_WC`) of all entities, one entity after the other (K,).
      starts: index into `words` at which each entity begins (E,).
      labels: predicted label of each of `words` (K,).
    """

    right: np.ndarray
    words: np.ndarray
    starts: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, sentences: Iterable[Predicted], label2id: dict[str, int]) -> Found:
        """Build from the annotated and predicted tags of every sentence."""
        right: list[bool] = []
        words, starts, labels = list[int](), list[int](), list[int]()
        place = 0
        for sentence in sentences:
            known = set(sentence.annotated)
            for span in sentence.found:
                right.append(span in known)
                starts.append(len(words))
                words += range(place + span.start, place + span.end)
                labels += [label2id[tag] for tag in sentence.tags[span.start : span.end]]
            place += len(sentence.tags)
        kinds = (bool, np.int64, np.int64, np.int64)
        columns = (right, words, starts, labels)
        return cls(*(np.asarray(c, kind) for c, kind in zip(columns, kinds, strict=True)))

    def __len__(self) -> int:
        return len(self.right)

    def scores(self, logits_WC: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """Return the score of every entity at a given temperature."""
        return self._means(label_scores(logits_WC[self.words], self.labels, temperature))

    def plain_scores(self, sure_W: np.ndarray) -> np.ndarray:
        """Return each entity's score as a pipeline does: mean probability of its words' labels."""
        return self._means(np.asarray(sure_W, np.float64)[self.words])

    def _means(self, probs_K: np.ndarray) -> np.ndarray:
        if not len(self):
            return np.zeros(0)
        sizes = np.diff(np.append(self.starts, len(self.words)))
        return np.add.reduceat(probs_K, self.starts) / sizes


def label_scores(logits_WC: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return the probability of each word's label, float64 (W,)."""
    probs_WC = softmax(np.asarray(logits_WC, np.float64) / temperature)
    return np.take_along_axis(probs_WC, np.asarray(labels)[:, None], axis=-1)[:, 0]


def span_score(span: Span, scores: Sequence[float]) -> float:
    """Return the mean score of a span's words."""
    return float(np.mean(scores[span.start : span.end]))


def reliability(scores: np.ndarray, right: np.ndarray) -> list[Bin]:
    """Return the non-empty ones of BINS equally wide bins."""
    places = np.minimum((np.asarray(scores) * BINS).astype(int), BINS - 1)
    bins = []
    for i in range(BINS):
        inside = places == i
        if inside.any():
            means = float(scores[inside].mean()), float(right[inside].mean())
            bins.append(Bin(i / BINS, (i + 1) / BINS, int(inside.sum()), *means))
    return bins


def expected_error(bins: Sequence[Bin]) -> float | None:
    """Return the expected calibration error, the mean over entities of their bin's |score - right|.

    None if there are no entities.
    """
    total = sum(part.entities for part in bins)
    if not total:
        return None
    return sum(part.entities * abs(part.score - part.right) for part in bins) / total


def fit_temperature(found: Found, logits_WC: np.ndarray) -> float | None:
    """Return the temperature at which entity scores best predict which entities are correct.

    It minimises cross-entropy with the targets of Platt (1999), slightly inside 0 and 1, so that a
    validation split without errors does not demand certainty.

    Returns:
      the temperature; None if fewer than ENOUGH entities were found.
    """
    if len(found) < ENOUGH:
        return None
    hits, misses = int(found.right.sum()), int((~found.right).sum())
    target = np.where(found.right, (hits + 1) / (hits + 2), 1 / (misses + 2))

    def loss(temperature: float) -> float:
        scores = np.clip(found.scores(logits_WC, temperature), 1e-12, 1 - 1e-12)
        return float(-(target * np.log(scores) + (1 - target) * np.log1p(-scores)).mean())

    low, high = np.log(LOWEST), np.log(HIGHEST)
    for _ in range(ZOOMS):
        grid = np.linspace(low, high, GRID)
        best = int(np.argmin([loss(float(np.exp(t))) for t in grid]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, GRID - 1)]
    return round(float(np.exp((low + high) / 2)), 4)


def summary(
    found: Found, sure_W: np.ndarray, logits_WC: np.ndarray, temperature: float | None
) -> dict[str, Any]:
    """Return what results.json holds for a split: entities found, error without and with it."""
    told: dict[str, Any] = {"entities": len(found)}
    told["expected_error"] = expected_error(reliability(found.plain_scores(sure_W), found.right))
    if temperature is not None:
        scores = found.scores(logits_WC, temperature)
        told["expected_error_calibrated"] = expected_error(reliability(scores, found.right))
    return told
