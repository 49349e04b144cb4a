"""Whether the scores of entities can be believed, and the temperature that mends them.

A score is believable if of the entities with a score of 0.8 four in five are right. Dividing the
logits by one number, the temperature, makes a model less sure (above 1) or surer (below 1) and
leaves every label as it is (Guo et al. 2017, On Calibration of Modern Neural Networks).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from flaxner.data.tags import Span, tags_to_spans

BINS = 10
LOWEST, HIGHEST = 0.1, 10.0  # temperatures looked at
GRID, ZOOMS = 33, 3  # temperatures at a time, and how often the best is looked at more closely
ENOUGH = 20  # entities that a temperature is fitted on


class Bin(NamedTuple):
    """Entities whose scores lie in [low, high), the last bin with 1.

    Attributes:
      low, high: its borders.
      entities: in it.
      score: their mean score.
      right: the share of them that is right.
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
      right: whether the corpus has the entity, borders and type (E,).
      words: the words of all entities, as rows of `logits_WC`, one entity after the other (K,).
      starts: where in `words` each entity begins (E,).
      labels: the label that was given to each of `words` (K,).
    """

    right: np.ndarray
    words: np.ndarray
    starts: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(
        cls,
        gold: Sequence[Sequence[str]],
        predicted: Sequence[Sequence[str]],
        label2id: dict[str, int],
    ) -> Found:
        """From the tags of every sentence, annotated and predicted."""
        right: list[bool] = []
        words, starts, labels = list[int](), list[int](), list[int]()
        place = 0
        for row, tags in zip(gold, predicted, strict=True):
            known = set(tags_to_spans(row))
            for span in tags_to_spans(tags):
                right.append(span in known)
                starts.append(len(words))
                words += range(place + span.start, place + span.end)
                labels += [label2id[tag] for tag in tags[span.start : span.end]]
            place += len(tags)
        kinds = (bool, np.int64, np.int64, np.int64)
        columns = (right, words, starts, labels)
        return cls(*(np.asarray(c, kind) for c, kind in zip(columns, kinds, strict=True)))

    def __len__(self) -> int:
        return len(self.right)

    def scores(self, logits_WC: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """The score of every entity under a temperature."""
        return self._means(label_scores(logits_WC[self.words], self.labels, temperature))

    def plain_scores(self, sure_W: np.ndarray) -> np.ndarray:
        """The score of every entity: the mean probability of its words' labels, as a pipeline's."""
        return self._means(np.asarray(sure_W, np.float64)[self.words])

    def _means(self, probs_K: np.ndarray) -> np.ndarray:
        if not len(self):
            return np.zeros(0)
        sizes = np.diff(np.append(self.starts, len(self.words)))
        return np.add.reduceat(probs_K, self.starts) / sizes


def label_scores(logits_WC: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """The probability of each word's label, float64 (W,)."""
    scaled = np.asarray(logits_WC, np.float64) / temperature
    scaled -= scaled.max(axis=-1, keepdims=True, initial=-np.inf)
    chosen = np.take_along_axis(scaled, np.asarray(labels)[:, None], axis=-1)[:, 0]
    return np.exp(chosen) / np.exp(scaled).sum(axis=-1)


def span_score(span: Span, scores: Sequence[float]) -> float:
    """The mean score of a span's words."""
    return float(np.mean(scores[span.start : span.end]))


def reliability(scores: np.ndarray, right: np.ndarray) -> list[Bin]:
    """The bins that hold an entity, of BINS equally wide ones."""
    places = np.minimum((np.asarray(scores) * BINS).astype(int), BINS - 1)
    bins = []
    for i in range(BINS):
        inside = places == i
        if inside.any():
            means = float(scores[inside].mean()), float(right[inside].mean())
            bins.append(Bin(i / BINS, (i + 1) / BINS, int(inside.sum()), *means))
    return bins


def expected_error(bins: Sequence[Bin]) -> float | None:
    """The expected calibration error: |score - share right| over the entities; None of none."""
    total = sum(part.entities for part in bins)
    if not total:
        return None
    return sum(part.entities * abs(part.score - part.right) for part in bins) / total


def fit_temperature(found: Found, logits_WC: np.ndarray) -> float | None:
    """The temperature under which being right or wrong is likeliest, by the entities' scores.

    The targets are Platt's (1999), a little inside 0 and 1, so that a validation split without an
    error does not call for certainty.

    Returns:
      the temperature; None where ENOUGH entities were not found.
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
    """What results.json says of a split: entities found, and the error without and with it."""
    told: dict[str, Any] = {"entities": len(found)}
    told["expected_error"] = expected_error(reliability(found.plain_scores(sure_W), found.right))
    if temperature is not None:
        scores = found.scores(logits_WC, temperature)
        told["expected_error_calibrated"] = expected_error(reliability(scores, found.right))
    return told
