"""A run's predictions on sentences that it was not trained on, and where those come from."""

from __future__ import annotations

import dataclasses
import functools
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from flaxner.config.data import renamings
from flaxner.config.train import TrainConfig
from flaxner.data.corpus import join
from flaxner.data.labels import LabelScheme
from flaxner.data.selection import parts, retyped
from flaxner.data.sources import read_unmixed
from flaxner.evaluation.predictions import Predicted
from flaxner.evaluation.word_scores import MOST
from flaxner.inference.units import softmax
from flaxner.reporting.record import RunRecord, read_runs
from flaxner.runs.folder import RunFolder


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """A sentence, and the predictions of a model that has not seen it.

    Attributes:
      source: file or data set that contains it.
      number: number of the sentence there, from 1.
      words: words of the sentence.
      tags: annotated tags.
      predicted: predicted tags.
      probs: probability of each label, float32 (words, C).
      by: what made the predictions.
      renamed: types of the corpus that the run renamed.
    """

    source: str
    number: int
    words: tuple[str, ...]
    tags: tuple[str, ...]
    predicted: tuple[str, ...]
    probs: np.ndarray
    by: str = "the model"
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Place(NamedTuple):
    """An annotated sentence of a corpus; see `HeldOut`."""

    source: str
    number: int
    words: tuple[str, ...]
    tags: tuple[str, ...]


def read_held_out(folder: str | Path) -> tuple[list[HeldOut], LabelScheme]:
    """Return the held-out sentences of a run, in the order of their sources, and its label table.

    For a cross-validation, these are all sentences of the training corpus, each predicted by the
    model of the fold that left it out. For any other run, they are those of its validation and test
    splits; a multi-seed run is represented by the model that was published.

    Raises:
      ValueError: the folder is not a run that has ended, there are no probabilities, or corpora
        have changed since.
    """
    records = read_runs(folder)
    sentences: list[HeldOut] = []
    schemes = {record.scheme for record in records}
    if len(schemes) > 1 or None in schemes:
        raise ValueError(f"the models in {folder} must have one label table: train again")
    if len(records) > 1 and not records[0].config.cross_validation:
        records = [_published(RunFolder(folder), records)]  # all seeds predict the same sentences
    places = functools.lru_cache(maxsize=1)(_places)  # folds have one training corpus
    for record in records:
        sentences += _of_record(record, places)
    if not sentences:
        raise ValueError(
            f"the run in {folder} has held out no sentences: train with --cross-validation, or "
            "with a validation or test split"
        )
    order = {name: i for i, name in enumerate(dict.fromkeys(item.source for item in sentences))}
    sentences.sort(key=lambda item: (order[item.source], item.number))
    return sentences, schemes.pop()  # type: ignore[return-value]


def _published(whole: RunFolder, seeds: list[RunRecord]) -> RunRecord:
    """Return the run of the seed that was published."""
    results = whole.finished()
    if results is None:
        raise ValueError(f"the run in {whole.path} has not finished: continue it with --resume")
    return next(record for record in seeds if record.config.seed == results["best_seed"])


def _of_record(
    record: RunRecord, places: Callable[[TrainConfig, str], list[list[Place]]]
) -> list[HeldOut]:
    config, held_out = record.config, list[HeldOut]()
    if not record.predictions:
        raise ValueError(f"the run in {record.path} has not finished: continue it with --resume")
    for split, sentences in record.predictions.items():
        if config.cross_validation and split != "validation":
            continue  # the test split is outside the folds: every fold predicts it again
        scores = record.scores.get(split)
        if scores is None or scores.logits is None:
            raise ValueError(
                f"{record.path} has no probabilities for {split}: there are more than {MOST:,}, "
                "which are not kept, or an earlier version made the run; audit a part of the "
                "corpus, or train again"
            )
        own = config.cross_validation or config.held_out
        home = "train" if split == "validation" and own else split
        by_part = places(config.replace(fold=0, output_dir="."), home)
        there = by_part[max(config.fold - 1, 0)] if home == "train" else by_part[0]
        held_out += _placed(record, sentences, scores.logits, there)
    return held_out


def _places(config: TrainConfig, split: str) -> list[list[Place]]:
    """Return the sentences of a split; of the training split, by the parts it was divided into.

    Each of its files and data sets is read on its own, with types as in training.
    """
    corpora = read_unmixed(config, split)
    renamed = renamings(config.map_types)
    if renamed or config.drop_types:
        corpora = [retyped(corpus, renamed, config.drop_types) for corpus in corpora]
    places = [
        Place(corpus.source, number, sentence.words, sentence.tags or ())
        for corpus in corpora
        for number, sentence in enumerate(corpus, 1)
    ]
    if split != "train":
        return [places]
    by_part = [list[Place]() for _ in range(config.cross_validation or 2)]
    for place, part in zip(places, parts(join(corpora), config).tolist(), strict=True):
        by_part[part].append(place)
    return by_part


def _placed(
    record: RunRecord,
    sentences: Sequence[Predicted],
    logits_WC: np.ndarray,
    there: Sequence[Place],
) -> list[HeldOut]:
    """Return the sentences with their places in the corpora.

    A sentence is looked up by words and tags; equal ones are taken in order.
    """
    places: dict[tuple[Any, ...], deque[Place]] = defaultdict(deque)
    for place in there:
        places[place.words, place.tags].append(place)
    renamed = renamings(record.config.map_types)
    items, begin = [], 0
    for sentence in sentences:
        end = begin + len(sentence.words)
        queue = places[sentence.words, sentence.gold]
        if not queue:
            raise ValueError(
                f"the corpus of {record.path} has changed since the run: it has no sentence "
                f"{' '.join(sentence.words)[:80]!r} with the same tags"
            )
        probs = softmax(logits_WC[begin:end])
        items.append(HeldOut(*queue.popleft(), sentence.tags, probs, renamed=renamed))
        begin = end
    return items
