"""The data of a run that a report needs, from its folder or from a run that is ending."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxner.config.files import load_settings
from flaxner.config.train import TrainConfig
from flaxner.data.corpus import Corpus
from flaxner.data.labels import LabelScheme
from flaxner.data.selection import select
from flaxner.data.sources import read_sources
from flaxner.evaluation.predictions import Predicted
from flaxner.evaluation.seen_unseen import digest, surfaces
from flaxner.evaluation.word_scores import SUFFIX, WordScores, read_scores
from flaxner.models.config_json import read_config
from flaxner.publishing.history import read_run_predictions
from flaxner.reporting.judged import Surfaces
from flaxner.runs.folder import RunFolder
from flaxner.runs.paths import is_run
from flaxner.runs.replacing import refuse_half_moved


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """A run.

    Attributes:
      path: the run's folder.
      config: settings of the run.
      metrics: objects of metrics.jsonl.
      results: content of results.json; empty if the run has not ended.
      predictions: split -> sentences.
      scores: split -> how confident the model was.
      scheme: label table; None if it cannot be read.
      known: names in the training corpus; None if it cannot be read.
      notes: what is missing and why, one sentence each.
      speed: objects of speed.jsonl; empty if an earlier version made the run.
    """

    path: Path
    config: TrainConfig
    metrics: list[dict[str, Any]]
    results: Mapping[str, Any]
    predictions: Mapping[str, Sequence[Predicted]]
    scores: Mapping[str, WordScores]
    scheme: LabelScheme | None
    known: Surfaces | None
    notes: tuple[str, ...] = ()
    speed: Sequence[Mapping[str, Any]] = ()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the objects of metrics.jsonl; a last line that is still being written is ignored.

    Raises:
      ValueError: a line before the last is not an object with a step.
    """
    return _read_lines(path, ("step",))


def read_speed(path: Path) -> list[dict[str, Any]]:
    """Return the objects of speed.jsonl, likewise; an empty list if there is no such file.

    Raises:
      ValueError: a line before the last is not an object with step, seconds and tokens.
    """
    return _read_lines(path, ("step", "seconds", "tokens"))


def _read_lines(path: Path, numbers: Sequence[str]) -> list[dict[str, Any]]:
    """Return the objects of a JSON Lines file that have these numbers; the last line may be cut.

    Raises:
      ValueError: a line before the last is not such an object.
    """
    try:
        lines = path.read_bytes().splitlines() if path.is_file() else []
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            for name in numbers:
                row[name] + 0
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            if number == len(lines):
                break
            raise ValueError(f"{path}, line {number}: not a line that a run writes") from error
        rows.append(row)
    return rows


def read_runs(folder: str | Path) -> list[RunRecord]:
    """Read the run in a folder; for a cross-validation, its folds; for a multi-seed run, its seeds.

    Raises:
      ValueError: the folder is not a run, is half replaced, or has files that no run wrote.
    """
    run = RunFolder(folder)
    refuse_half_moved(run.path)
    if not run.path.is_dir() or not is_run(run.path) or not run.config.is_file():
        raise ValueError(f"{folder} is not a run: name the output folder of train.py")
    members = [RunFolder(path) for path in run.members()]
    read = functools.lru_cache(maxsize=1)(read_sources)  # members have the same corpora
    return [_read(member, read) for member in members or [run] if member.config.is_file()]


def _read(run: RunFolder, read: Callable[[TrainConfig], dict[str, Corpus]]) -> RunRecord:
    config, notes = TrainConfig(**load_settings(run.config)), list[str]()
    predictions: dict[str, list[Predicted]] = {}
    try:
        predictions = read_run_predictions(run)
    except ValueError as error:
        notes.append(f"errors and intervals are not available: {error}")
    scores = {}
    for split, sentences in predictions.items():
        try:
            words = sum(len(sentence.words) for sentence in sentences)
            scores[split] = read_scores(run.predictions / f"{split}{SUFFIX}", words)
        except ValueError as error:
            notes.append(f"the model's confidence on {split} is not available: {error}")
    results = run.finished() or {}
    known = scheme = None
    try:
        known = _known(read(config.replace(seed=0, fold=0, output_dir=".")), config, results)
    except ValueError as error:
        notes.append(f"the names seen in training are not available: {error}")
    try:
        scheme = LabelScheme.from_id2label(read_config(run.model)["id2label"])
    except (ValueError, KeyError) as error:
        notes.append(f"the labels are not available: {error}")
    if not results:
        notes.append("the run has not finished: there are no scores yet")
    return RunRecord(
        run.path,
        config,
        read_metrics(run.metrics),
        results,
        predictions,
        scores,
        scheme,
        known,
        tuple(notes),
        read_speed(run.speed),
    )


def _known(
    corpora: Mapping[str, Corpus], config: TrainConfig, results: Mapping[str, Any]
) -> Surfaces:
    """Return the names that a run saw in training, from its corpora as they are now.

    Raises:
      ValueError: the training corpus does not have the names that it had then.
    """
    train = select(corpora, config)["train"]
    known = surfaces(train.sentences)
    then = results.get("train", {}).get("names_digest")  # earlier versions did not record it
    if then not in (None, digest(known)):
        raise ValueError(f"{train.source} has changed since the run")
    return known
