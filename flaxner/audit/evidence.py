"""Held-out predictions and the corpus itself -> findings, the most likely error first.

The probabilities are those of the second opinion (`second_opinion`) if it is better.

A finding contrasts the annotated reading of some words (entities, or none) with another one. Other
readings come from two sources: the model's predictions that differ from the annotation, and names
that are read one way almost everywhere but differently here. The score of a reading combines two
odds: of the model's probabilities, and of the other occurrences of the words in the corpus, which
count twice or three times if one or both neighbouring words are the same, too. Words whose labels
confident learning also doubts are ranked higher.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from flaxner.audit.confident import Word, doubted_words
from flaxner.audit.findings import Finding
from flaxner.audit.held_out import HeldOut
from flaxner.audit.second_opinion import second_opinion
from flaxner.data.labels import LabelScheme
from flaxner.data.tags import Span, spans_to_tags, tags_to_spans

WEIGHT = 1.0  # of the corpus's log odds, relative to the model's
FLOOR = 0.5  # occurrences added to each reading, for smoothing
DOUBT = 0.5  # added to the log odds if confident learning doubts a label
NONE = ""  # reading of words that are not an entity
FEWEST, SHARE = 3, 0.8  # smallest weight and share of votes that make a reading the usual one
SMALLEST = 1e-6  # lower bound on probabilities
LONGEST = 8  # words in the longest name to look for

Surface = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Reading:
    """Some words, read in two ways.

    Attributes:
      start, end: range of the words.
      given: annotated entities among them.
      suggested: entities to have instead.
    """

    start: int
    end: int
    given: tuple[Span, ...]
    suggested: tuple[Span, ...]


class Occurrences:
    """How words that are a name somewhere are annotated wherever they occur.

    Args:
      sentences: sentences of the corpus.
      spans: annotated entities of each sentence.
    """

    def __init__(self, sentences: Sequence[HeldOut], spans: Sequence[Sequence[Span]]) -> None:
        self._words = [sentence.words for sentence in sentences]
        self._spans = spans
        predicted = [tags_to_spans(sentence.predicted) for sentence in sentences]
        self._sizes: dict[str, set[int]] = defaultdict(set)
        self._names = {
            words[span.start : span.end]
            for words, own, others in zip(self._words, spans, predicted, strict=True)
            for span in (*own, *others)
            if span.end - span.start <= LONGEST
        }
        for name in self._names:
            self._sizes[name[0]].add(len(name))
        # For each name, alone and with the word on its left or right: reading -> occurrences.
        self._counts: dict[Any, Counter[str | None]] = defaultdict(Counter)
        for i, own in enumerate(spans):
            for start, end in self.in_words(self._words[i]):
                reading = _reading(own, start, end)
                for key in self._keys(i, start, end):
                    self._counts[key][reading] += 1

    def _keys(self, sentence: int, start: int, end: int) -> tuple[Any, Any, Any]:
        words = self._words[sentence]
        left = words[start - 1].lower() if start else ""
        right = words[end].lower() if end < len(words) else ""
        name = words[start:end]
        return name, (name, left, None), (name, None, right)

    def in_words(self, words: Surface) -> Iterator[tuple[int, int]]:
        """Yield the places where a name of the corpus occurs."""
        for start, word in enumerate(words):
            for size in self._sizes.get(word, ()):
                if words[start : start + size] in self._names:
                    yield start, start + size

    def votes(self, sentence: int, start: int, end: int) -> Counter[str | None]:
        """Return reading -> weight of the other occurrences of these words.

        A reading is a type, NONE if no word is in an entity, or None for other boundaries. An
        occurrence weighs 1, plus 1 for each neighbour that is the same as here.
        """
        if self._words[sentence][start:end] not in self._names:
            return Counter()
        own = _reading(self._spans[sentence], start, end)
        counts: Counter[str | None] = Counter()
        for key in self._keys(sentence, start, end):
            counts.update(self._counts[key])
            counts[own] -= 1
        return +counts


def _reading(spans: Sequence[Span], start: int, end: int) -> str | None:
    """Return the type of exactly these words, NONE if none of them is in an entity, else None."""
    for span in spans:
        if span[:2] == (start, end):
            return span.type
        if span.start < end and start < span.end:
            return None
    return NONE


def find(sentences: Sequence[HeldOut], scheme: LabelScheme) -> list[Finding]:
    """Return the findings about a corpus, the most likely error first."""
    sentences = second_opinion(sentences, scheme)
    return rank(sentences, scheme, set(doubted_words(sentences, scheme)))


def rank(sentences: Sequence[HeldOut], scheme: LabelScheme, doubted: set[Word]) -> list[Finding]:
    """Do the ranking of `find`; `doubted` are words whose labels confident learning doubts."""
    spans = [tags_to_spans(sentence.tags) for sentence in sentences]
    occurrences = Occurrences(sentences, spans)
    findings = []
    for i, sentence in enumerate(sentences):
        own = [
            _weighed(i, sentence, reading, occurrences, scheme, doubted)
            for reading in _readings(i, sentence, spans[i], occurrences)
        ]
        findings += _best(own)
    return sorted(findings, key=lambda finding: -finding.score)


def _best(findings: list[Finding]) -> list[Finding]:
    """Return the most likely one of several findings about the same words."""
    kept: list[tuple[set[int], Finding]] = []
    for finding in sorted(findings, key=lambda finding: -finding.score):
        touched = {w for s in (*finding.given, *finding.suggested) for w in range(s.start, s.end)}
        if not any(touched & other for other, _ in kept):
            kept.append((touched, finding))
    return [finding for _, finding in kept]


def _readings(
    index: int, sentence: HeldOut, given: list[Span], occurrences: Occurrences
) -> Iterator[Reading]:
    """Yield other readings of a sentence's words: the model's, and the usual one of each name."""
    predicted = tags_to_spans(sentence.predicted)
    yield from _differences(given, predicted)
    for start, end in occurrences.in_words(sentence.words):
        counts = occurrences.votes(index, start, end)
        if not counts:
            continue
        usual, weight = counts.most_common(1)[0]
        if usual is None or weight < max(FEWEST, SHARE * counts.total()):
            continue
        if _reading(given, start, end) in (usual, None):
            continue
        own = tuple(span for span in given if span[:2] == (start, end))
        yield Reading(start, end, own, (Span(start, end, usual),) if usual else ())


def _differences(given: list[Span], found: list[Span]) -> Iterator[Reading]:
    """Yield entities that only one side has, together with all they overlap."""
    right = set(given) & set(found)
    left = [(span, 0) for span in given if span not in right]
    left += [(span, 1) for span in found if span not in right]
    group: list[tuple[Span, int]] = []
    end = -1
    for span, side in [*sorted(left), (Span(1 << 60, 1 << 60, ""), 0)]:
        if group and span.start >= end:
            yield Reading(
                min(s.start for s, _ in group),
                end,
                tuple(s for s, side_ in group if side_ == 0),
                tuple(s for s, side_ in group if side_ == 1),
            )
            group = []
            end = -1
        group.append((span, side))
        end = max(end, span.end)


def _weighed(
    index: int,
    sentence: HeldOut,
    reading: Reading,
    occurrences: Occurrences,
    scheme: LabelScheme,
    doubted: set[Word],
) -> Finding:
    """Return the finding for a reading: its score, kind and reason."""
    p_given, p_other = _probabilities(sentence, reading, scheme)
    votes_given, votes_other = _votes(index, reading, occurrences)
    model = math.log(p_other / p_given)
    corpus = math.log((votes_other + FLOOR) / (votes_given + FLOOR))
    doubt = any((index, word) in doubted for word in range(reading.start, reading.end))
    odds = math.exp(model + WEIGHT * corpus + (DOUBT if doubt else 0.0))
    return Finding(
        sentence.source,
        sentence.number,
        sentence.words,
        reading.given,
        reading.suggested,
        float(odds / (1 + odds)),
        _kind(reading),
        _reason(sentence, reading, (p_given, p_other), (votes_given, votes_other), doubt),
        sentence.renamed,
    )


def _probabilities(sentence: HeldOut, reading: Reading, scheme: LabelScheme) -> tuple[float, float]:
    """Return the model's probability of what is annotated, and of what is suggested instead.

    Each is the geometric mean over the words whose tags differ.
    """
    given, suggested = (
        spans_to_tags(own, len(sentence.words)) for own in (reading.given, reading.suggested)
    )
    words = [w for w in range(reading.start, reading.end) if given[w] != suggested[w]]

    def probability(tags: Sequence[str]) -> float:
        labels = scheme.encode([tags[w] for w in words])
        probs = np.maximum(sentence.probs[words, labels], SMALLEST)
        return float(np.exp(np.log(probs).mean()))

    return probability(given), probability(suggested)


def _votes(index: int, reading: Reading, occurrences: Occurrences) -> tuple[float, float]:
    """Return the weight of other occurrences with the annotated and with the suggested reading."""
    given = other = 0.0
    for start, end in {span[:2] for span in (*reading.given, *reading.suggested)}:
        counts = occurrences.votes(index, start, end)
        given += counts[_reading(reading.given, start, end)]
        other += counts[_reading(reading.suggested, start, end)]
    return given, other


def _kind(reading: Reading) -> str:
    if not reading.given:
        return "dropped"
    if not reading.suggested:
        return "invented"
    same = [s[:2] for s in reading.given] == [s[:2] for s in reading.suggested]
    return "type" if same else "border"


def _reason(
    sentence: HeldOut,
    reading: Reading,
    probs: tuple[float, float],
    votes: tuple[float, float],
    doubt: bool,
) -> str:
    parts = [f"{sentence.by} gives {_named(sentence, reading.suggested)} {probs[1]:.2f}, "
             f"{_named(sentence, reading.given)} {probs[0]:.2f}"]  # fmt: skip
    if any(votes):
        parts.append(
            f"other occurrences of the words support the suggestion with weight {votes[1]:.0f} "
            f"and the annotation with weight {votes[0]:.0f}"
        )
    if doubt:
        parts.append("confident learning also doubts the label")
    return "; ".join(parts)


def _named(sentence: HeldOut, spans: Sequence[Span]) -> str:
    if not spans:
        return "no entity"
    return ", ".join(f"{' '.join(sentence.words[s.start : s.end])} ({s.type})" for s in spans)
