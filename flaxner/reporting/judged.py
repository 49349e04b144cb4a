"""Sentences as a model read them: what is annotated, what it found, and how confident it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from flaxner.data.tags import Span
from flaxner.evaluation.calibration import span_score
from flaxner.evaluation.mistakes import Error, errors
from flaxner.evaluation.predictions import Predicted

Surfaces = set[tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Judged:
    """A sentence with its annotated and predicted entities.

    Attributes:
      number: number of the sentence in its split, from 1.
      words: words of the sentence.
      gold: annotated entities.
      found: entities that the model found.
      scores: probability of each word's predicted label; None if unknown.
    """

    number: int
    words: tuple[str, ...]
    gold: list[Span]
    found: list[Span]
    scores: Sequence[float] | None

    def surface(self, span: Span) -> tuple[str, ...]:
        """Return the words of an entity."""
        return self.words[span.start : span.end]

    def score(self, span: Span) -> float | None:
        """Return how confident the model was in its prediction for these words."""
        return None if self.scores is None else span_score(span, self.scores)

    def errors(self) -> list[Error]:
        """Return what the model got wrong."""
        return list(errors(self.gold, self.found))


def judge(sentences: Sequence[Predicted], scores: np.ndarray | None) -> list[Judged]:
    """Return the sentences of a prediction file, with the scores of their words (W,) if known."""
    judged, place = [], 0
    for number, sentence in enumerate(sentences, 1):
        end = place + len(sentence.words)
        own = None if scores is None else scores[place:end].tolist()
        judged.append(Judged(number, sentence.words, sentence.annotated, sentence.found, own))
        place = end
    return judged
