"""Sentences as a model read them: what is annotated, what it found, and how confident it was."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from flaxner.data.tags import Span
from flaxner.evaluation.calibration import span_score
from flaxner.evaluation.mistakes import MISSED, overlap
from flaxner.evaluation.predictions import Predicted

SPURIOUS, TYPE, BORDER = "spurious", "wrong type", "wrong boundary"
KINDS = (MISSED, SPURIOUS, TYPE, BORDER)
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


@dataclasses.dataclass(frozen=True)
class Error:
    """A missed or wrongly found entity.

    Attributes:
      kinds: one of KINDS, or both TYPE and BORDER.
      gold: the annotated entity, or None.
      found: the model's entity, or None.
    """

    kinds: tuple[str, ...]
    gold: Span | None
    found: Span | None

    @property
    def span(self) -> Span:
        """The entity that the model found or, if there is none, the one it missed."""
        span = self.found or self.gold
        assert span is not None
        return span


def judge(sentences: Sequence[Predicted], scores: np.ndarray | None) -> list[Judged]:
    """Return the sentences of a prediction file, with the scores of their words (W,) if known."""
    judged, place = [], 0
    for number, sentence in enumerate(sentences, 1):
        end = place + len(sentence.words)
        own = None if scores is None else scores[place:end].tolist()
        judged.append(Judged(number, sentence.words, sentence.annotated, sentence.found, own))
        place = end
    return judged


def errors(sentence: Judged) -> Iterator[Error]:
    """Yield every pair of overlapping entities that differ, and every missed or spurious one."""
    right = set(sentence.gold) & set(sentence.found)
    gold = [span for span in sentence.gold if span not in right]
    spurious = [span for span in sentence.found if span not in right]
    for span in gold:
        others = [other for other in spurious if overlap(span, other)]
        for other in others:
            kinds = ((TYPE, span.type != other.type), (BORDER, span[:2] != other[:2]))
            yield Error(tuple(kind for kind, differs in kinds if differs), span, other)
        if not others:
            yield Error((MISSED,), span, None)
    for span in spurious:
        if not any(overlap(span, other) for other in gold):
            yield Error((SPURIOUS,), None, span)
