"""A run's settings, scores and curves in its Hub folder, so that anyone can repeat the run."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxner.config.files import load_settings
from flaxner.config.train import TrainConfig
from flaxner.evaluation.predictions import Predicted, read_predictions
from flaxner.files import write_json
from flaxner.runs.folder import RunFolder
from flaxner.runs.paths import RunPaths
from flaxner.tracking.to_tensorboard import write_events


def read_run_predictions(run: RunFolder) -> dict[str, list[Predicted]]:
    """Return split -> sentences with gold and predicted tags, for every split the run has scored.

    Raises:
      ValueError: a file is damaged, or does not hold the words that were scored.
    """
    files = sorted(run.predictions.glob("*.conll")) if run.predictions.is_dir() else []
    results = run.finished() or {}
    predictions = {}
    for path in files:
        predictions[path.stem] = read_predictions(path)
        words = sum(len(sentence.words) for sentence in predictions[path.stem])
        scored = results.get(path.stem, {}).get("words_scored", words)
        if words != scored:
            raise ValueError(f"{path} holds {words:,} words, but {scored:,} were scored")
    return predictions


def write_history(folder: Path, run: RunPaths, results: Mapping[str, Any] | None) -> None:
    """Write config.toml, metrics.jsonl, results.json and TensorBoard events.

    config.toml contains no absolute paths of this machine; see `repeatable`.

    Args:
      folder: the Hub folder.
      run: the run.
      results: content of results.json, if it describes the model in the folder.
    """
    config = repeatable(TrainConfig(**load_settings(run.config)))
    (folder / run.config.name).write_text(config.to_toml(), "utf-8")
    if run.metrics.is_file():
        shutil.copyfile(run.metrics, folder / run.metrics.name)
    if results is not None:
        write_json(folder / "results.json", results)
    if run.metrics.is_file():
        write_events(folder / "runs", run.metrics)


def repeatable(config: TrainConfig) -> TrainConfig:
    """Return the settings in a form that others can use, without what is specific to this machine.

    An absolute path is reduced to its last part: others put their copy of the file there.
    """
    plain = {
        field.name: field.default
        for field in dataclasses.fields(config)
        if field.name in ("overwrite", "resume", "compilation_cache", "segment_cache", "report_to")
    }
    named = {
        field.name: _named(getattr(config, field.name))
        for field in dataclasses.fields(config)
        if field.name in ("model", "dataset") or field.name.endswith("_file")
    }
    folder = Path(config.output_dir)
    output_dir = f"runs/{folder.name}" if folder.is_absolute() else config.output_dir
    return config.replace(**plain, **named, output_dir=output_dir)


def _named(source: Any) -> Any:
    if isinstance(source, tuple):
        return tuple(_named(part) for part in source)
    return Path(source).name if source is not None and Path(source).is_absolute() else source
