"""Turns token logits into entities, like the TokenClassificationPipeline of `transformers`.

Its rules are followed to the letter, oddities included, but for all texts at once. Strategy
"word" is our own: words get the label of their first token, as in training, and spans are cut
from the text.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from flaxner.data.tag_rules import label_parts
from flaxner.data.tags import OUTSIDE
from flaxner.inference.rendering import Entities
from flaxner.inference.tokens import Reading
from flaxner.inference.units import Decoding, Units, make_units
from flaxner.inference.vocabulary import WORDWISE, Vocabulary
from flaxner.inference.word_numbers import trimmed

STRATEGIES = ("none", "simple", "first", "average", "max", "word")
DECODERS = ("crf", "viterbi", "argmax")
Entity = dict[str, Any]


class LabelTable:
    """Which labels certainly begin an entity, which may form one together, and its type's name."""

    def __init__(self, parts: Sequence[tuple[str, str]], groups: Sequence[str]) -> None:
        tags = {tag: i for i, tag in enumerate(dict.fromkeys(tag for _, tag in parts))}
        self.begins = np.asarray([prefix in "BS" for prefix, _ in parts])
        self.tags = np.asarray([tags[tag] for _, tag in parts])
        self.groups = groups


class Aggregator:
    """Turns logits into entities, for a model's labels and tokenizer."""

    def __init__(self, tokenizer: Any, labels: Sequence[str]) -> None:
        self.vocabulary = Vocabulary(tokenizer)
        self.names = tuple(labels)
        # As `group_entities` of `transformers` splits them, and as `evaluate` does.
        theirs = [(n[0], n[2:]) if n[:2] in ("B-", "I-") else ("I", n) for n in self.names]
        self._theirs = LabelTable(theirs, [name.split("-", 1)[-1] for name in self.names])
        parts = [label_parts(labels)[name] for name in self.names]
        self._ours = LabelTable(parts, [kind or OUTSIDE for _, kind in parts])
        self._types = tuple(sorted({kind for _, kind in parts if kind}))

    def __call__(
        self,
        reading: Reading,
        logits_TC: np.ndarray,
        strategy: str = "none",
        ignore: Collection[str] = ("O",),
        decoding: Decoding | None = None,
        temperature: float | None = None,
    ) -> list[Entities]:
        """Return the entities of every text.

        Args:
          reading: the tokenised texts.
          logits_TC: logits of `reading.tokens`.
          strategy: one of STRATEGIES.
          ignore: labels (strategy "none") or types to leave out.
          decoding: for strategy "word"; None: each word's most likely label.
          temperature: divides the logits when computing scores, and only then.
        """
        units = make_units(reading, logits_TC, strategy, self.vocabulary, decoding, temperature)
        if strategy == "none":
            by_sequence = self._single(reading, units, ignore)
        else:
            by_sequence = self._grouped(reading, units, strategy, ignore)
        answers = [Entities((), text, self._types) for text in reading.texts]
        windows = np.bincount(reading.tokens.owners, minlength=len(answers)).tolist()
        for owner, entities in zip(reading.tokens.owners.tolist(), by_sequence, strict=True):
            answers[owner].extend(entities)
        for text, count in enumerate(windows):
            if count > 1:
                answers[text][:] = without_overlaps(answers[text])
        return answers

    def _single(
        self, reading: Reading, units: Units, ignore: Collection[str]
    ) -> list[list[Entity]]:
        """Return each token that is not ignored as an entity of its own."""
        tokens, names = reading.tokens, self.names
        kept_labels = np.asarray([name not in ignore for name in names], bool)
        kept = np.flatnonzero(kept_labels[units.labels])
        edges = np.searchsorted(kept, units.borders)
        place = np.searchsorted(units.borders, kept, side="right") - 1
        owners = tokens.owners[place]
        columns = (kept, units.labels[kept], tokens.numbers[kept], tokens.starts[kept])
        flat = [
            {
                "entity": names[label],
                "score": units.scores[token],
                "index": index,
                "word": self._piece(reading, owner, token),
                "start": start,
                "end": end,
            }
            for token, label, index, start, end, owner in zip(
                *(column.tolist() for column in columns),
                tokens.ends[kept].tolist(),
                owners.tolist(),
                strict=True,
            )
        ]
        return _split(flat, edges)

    def _grouped(
        self, reading: Reading, units: Units, strategy: str, ignore: Collection[str]
    ) -> list[list[Entity]]:
        """Group adjacent units of the same type into entities."""
        tokens, table = reading.tokens, self._ours if strategy == "word" else self._theirs
        kept_labels = np.asarray([group not in ignore for group in table.groups], bool)
        if not kept_labels[units.labels].any():
            return [[] for _ in tokens.owners]
        tags = table.tags[units.labels]
        new = table.begins[units.labels].copy()
        new[1:] |= tags[1:] != tags[:-1]
        new[units.borders[:-1][np.diff(units.borders) > 0]] = True
        begins = np.flatnonzero(new)
        ends = np.append(begins[1:], len(tags))
        scores = np.add.reduceat(units.scores, begins) / (ends - begins).astype(units.scores.dtype)
        kept = np.flatnonzero(kept_labels[units.labels[begins]])
        sequences = np.searchsorted(units.borders, begins[kept], side="right") - 1
        flat, empty = [], []
        for group, sequence in zip(kept.tolist(), sequences.tolist(), strict=True):
            low, high = int(begins[group]), int(ends[group])
            owner = int(tokens.owners[sequence])
            start = int(tokens.starts[units.begins[low]])
            end = int(tokens.ends[units.ends[high - 1] - 1])
            entity = {
                "entity_group": table.groups[units.labels[low]],
                "score": scores[group],
                "word": self._words(reading, owner, units, low, high, strategy),
                "start": start,
                "end": end,
            }
            if strategy == "word":
                text = reading.texts[owner]
                start, end = trimmed(text, (start, end))  # SentencePiece includes spaces
                if start >= end:  # a given word may be nothing but white space
                    empty.append(group)
                    continue
                entity |= {"start": start, "end": end, "text": text[start:end]}
                entity["start_word"] = int(tokens.words[units.begins[low]])
                entity["end_word"] = int(tokens.words[units.begins[high - 1]]) + 1
            flat.append(entity)
        kept = np.setdiff1d(kept, empty) if empty else kept
        return _split(flat, np.searchsorted(begins[kept], units.borders))

    def _piece(self, reading: Reading, owner: int, token: int) -> str:
        tokens = reading.tokens
        number = int(tokens.input_ids[token])
        if number == self.vocabulary.unknown:
            return reading.texts[owner][tokens.starts[token] : tokens.ends[token]]
        return self.vocabulary.pieces[number]

    def _words(
        self, reading: Reading, owner: int, units: Units, low: int, high: int, strategy: str
    ) -> str:
        """Join an entity's tokens with the tokenizer, as `transformers` does."""

        def pieces(begin: int, end: int) -> list[str]:
            return [self._piece(reading, owner, token) for token in range(begin, end)]

        if strategy not in WORDWISE:
            return self.vocabulary.join(pieces(units.begins[low], units.ends[high - 1]))
        return self.vocabulary.join(
            [
                self.vocabulary.join(pieces(units.begins[unit], units.ends[unit]))
                for unit in range(low, high)
            ]
        )


def without_overlaps(entities: list[Entity]) -> list[Entity]:
    """Keep the longest of overlapping entities from adjacent windows, or the highest score.

    As in `transformers`, a first entity without characters, such as a lone byte-level space, is
    there twice.
    """
    ordered = sorted(entities, key=lambda entity: entity["start"])
    kept = ordered[:1]
    for entity in ordered:
        if kept[-1]["start"] <= entity["start"] < kept[-1]["end"]:
            if _weight(entity) > _weight(kept[-1]):
                kept[-1] = entity
        else:
            kept.append(entity)
    return kept


def _weight(entity: Entity) -> tuple[int, float]:
    return entity["end"] - entity["start"], entity["score"]


def _split(flat: list[Entity], edges: np.ndarray) -> list[list[Entity]]:
    bounds = edges.tolist()
    return [flat[a:b] for a, b in itertools.pairwise(bounds)]
