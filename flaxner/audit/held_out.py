"""What a run said of sentences that it was not trained on, beside where these stand."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from flaxner.config.data import renamings
from flaxner.config.train import TrainConfig
from flaxner.data.corpus import Corpus
from flaxner.data.labels import LabelScheme
from flaxner.data.selection import retyped
from flaxner.data.sources import read_unmixed
from flaxner.evaluation.predictions import Predicted
from flaxner.evaluation.word_scores import MOST
from flaxner.reporting.record import RunRecord, read_runs
from flaxner.runs.folder import RunFolder


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """A sentence, and what a model that has not seen it says of it.

    Attributes:
      source: the file or data set it stands in.
      number: its number there, from 1.
      words: its words.
      tags: as annotated.
      predicted: by the model.
      probs: of each label, float32 (words, C).
      by: who says so.
      renamed: types of the corpus that the run gave another name.
    """

    source: str
    number: int
    words: tuple[str, ...]
    tags: tuple[str, ...]
    predicted: tuple[str, ...]
    probs: np.ndarray
    by: str = "the model"
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)


def read_held_out(folder: str | Path) -> tuple[list[HeldOut], LabelScheme]:
    """The held-out sentences of a run, in the order of their sources.

    Of a cross-validation every sentence of the training corpus once, by the model of the fold
    that had left it out; of another run those of its validation and test splits, of several seeds
    by the model that was published.

    Raises:
      ValueError: no run that has ended, no probabilities, or corpora that have changed since.
    """
    records = read_runs(folder)
    sentences: list[HeldOut] = []
    schemes = {record.scheme for record in records}
    if len(schemes) > 1 or None in schemes:
        raise ValueError(f"the models of {folder} must have one label table: train again")
    if len(records) > 1 and not records[0].config.cross_validation:
        records = [_published(RunFolder(folder), records)]  # every seed says them again
    for record in records:
        sentences += _of_record(record)
    if not sentences:
        raise ValueError(f"{folder} has held nothing out: give --cross-validation, or a split")
    order = {name: i for i, name in enumerate(dict.fromkeys(item.source for item in sentences))}
    sentences.sort(key=lambda item: (order[item.source], item.number))
    return sentences, schemes.pop()  # type: ignore[return-value]


def _published(whole: RunFolder, seeds: list[RunRecord]) -> RunRecord:
    """The run of the seed that was published."""
    results = whole.finished()
    if results is None:
        raise ValueError(f"the run in {whole.path} has not ended: --resume it first")
    return next(record for record in seeds if record.config.seed == results["best_seed"])


def _of_record(record: RunRecord) -> list[HeldOut]:
    config, held_out = record.config, list[HeldOut]()
    if not record.predictions:
        raise ValueError(f"the run in {record.path} has not ended: --resume it first")
    for split, sentences in record.predictions.items():
        if config.cross_validation and split != "validation":
            continue  # the test split stands outside the folds: each fold would say it again
        scores = record.scores.get(split)
        if scores is None or scores.logits is None:
            raise ValueError(
                f"{record.path} has no probabilities of {split}: it has more than {MOST:,}, which "
                "are not kept, or was made by an earlier version: audit a part, or train again"
            )
        own = config.cross_validation or config.held_out
        home = "train" if split == "validation" and own else split
        held_out += _placed(record, sentences, scores.logits, _sources(config, home))
    return held_out


def _sources(config: TrainConfig, split: str) -> list[Corpus]:
    """The files and data sets that a split is made of, each by itself, types as in training."""
    corpora = read_unmixed(config, split)
    renamed = renamings(config.map_types)
    if renamed or config.drop_types:
        corpora = [retyped(corpus, renamed, config.drop_types) for corpus in corpora]
    return corpora


def _placed(
    record: RunRecord,
    sentences: Sequence[Predicted],
    logits_WC: np.ndarray,
    corpora: Sequence[Corpus],
) -> list[HeldOut]:
    """The sentences with the places of their words and tags in the corpora.

    A sentence is found by its words and tags; of equal ones the first that is left.
    """
    places: dict[tuple[str, ...], deque[tuple[str, int, tuple[str, ...]]]] = {}
    for corpus in corpora:
        for number, own in enumerate(corpus, 1):
            own_place = (corpus.source, number, own.tags or ())
            places.setdefault(own.words, deque()).append(own_place)
    renamed = renamings(record.config.map_types)
    items, begin = [], 0
    for sentence in sentences:
        end = begin + len(sentence.words)
        queue = places.get(sentence.words, deque())
        place = next((place for place in queue if place[2] == sentence.gold), None)
        if place is None:
            raise ValueError(
                f"the corpus of {record.path} has changed since: it has no sentence "
                f"{' '.join(sentence.words)[:80]!r} with the tags of then"
            )
        queue.remove(place)
        source, number, tags = place
        probs = softmax(logits_WC[begin:end])
        item = HeldOut(source, number, sentence.words, tags, sentence.tags, probs, renamed=renamed)
        items.append(item)
        begin = end
    return items


def softmax(logits_WC: np.ndarray) -> np.ndarray:
    """Probabilities of the labels, float32 (W, C)."""
    shifted = np.exp(logits_WC - logits_WC.max(axis=-1, keepdims=True, initial=-np.inf))
    return (shifted / shifted.sum(axis=-1, keepdims=True)).astype(np.float32)
