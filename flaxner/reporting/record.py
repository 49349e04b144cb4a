"""What a run left behind, as a report needs it: from its folder, or from the run that ends."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxner.config.files import load_settings
from flaxner.config.train import TrainConfig
from flaxner.data.labels import LabelScheme
from flaxner.data.selection import select
from flaxner.data.sources import read_sources
from flaxner.evaluation.predictions import Predicted
from flaxner.evaluation.seen_unseen import surfaces
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
      path: its folder.
      config: its settings.
      metrics: the objects of metrics.jsonl.
      results: the content of results.json; nothing of a run that has not ended.
      predictions: split -> sentences.
      scores: split -> how sure the model was.
      scheme: label table; None where it cannot be read.
      known: the names in the training corpus; None where it cannot be read.
      notes: what is missing and why, one sentence each.
      speed: the objects of speed.jsonl; nothing of a run of an earlier version.
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
    """The objects of metrics.jsonl, up to a line that a run has not finished yet.

    Raises:
      ValueError: a line before the last that is no object with a step.
    """
    return _read_lines(path, ("step",))


def read_speed(path: Path) -> list[dict[str, Any]]:
    """The objects of speed.jsonl, likewise; nothing where there is none.

    Raises:
      ValueError: a line before the last that is not of this file.
    """
    return _read_lines(path, ("step", "seconds", "tokens"))


def _read_lines(path: Path, numbers: Sequence[str]) -> list[dict[str, Any]]:
    """Objects, a line each, that have these numbers; a last line may be cut.

    Raises:
      ValueError: a line before the last that is no object.
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
            raise ValueError(f"{path}, line {number}: no line that a run writes") from error
        rows.append(row)
    return rows


def read_runs(folder: str | Path) -> list[RunRecord]:
    """The run in a folder; of a cross-validation its folds, of several seeds each one's.

    Raises:
      ValueError: no run, or one that is half replaced, or files in it that no run wrote.
    """
    run = RunFolder(folder)
    refuse_half_moved(run.path)
    if not run.path.is_dir() or not is_run(run.path) or not run.config.is_file():
        raise ValueError(f"{folder} is no run: name the output folder of train.py")
    members = [RunFolder(path) for path in run.members()]
    if members:
        return [_read(member) for member in members if member.config.is_file()]
    return [_read(run)]


def _read(run: RunFolder) -> RunRecord:
    config, notes = TrainConfig(**load_settings(run.config)), list[str]()
    predictions: dict[str, list[Predicted]] = {}
    try:
        predictions = read_run_predictions(run)
    except ValueError as error:
        notes.append(f"no errors and no intervals: {error}")
    scores = {}
    for split, sentences in predictions.items():
        try:
            words = sum(len(sentence.words) for sentence in sentences)
            scores[split] = read_scores(run.predictions / f"{split}{SUFFIX}", words)
        except ValueError as error:
            notes.append(f"how sure the model was of {split} is not known: {error}")
    known = scheme = None
    try:
        known = surfaces(select(read_sources(config), config)["train"].sentences)
    except ValueError as error:
        notes.append(f"which names training has is not known: {error}")
    try:
        scheme = LabelScheme.from_id2label(read_config(run.model)["id2label"])
    except (ValueError, KeyError) as error:
        notes.append(f"the labels are not known: {error}")
    results = run.finished() or {}
    if not results:
        notes.append("the run has not ended: there are no scores yet")
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
