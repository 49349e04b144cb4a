"""A run's settings, scores and curves in its Hub folder, so that anyone can repeat it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxner.mistakes import Predicted, read_predictions
from flaxner.run_folder import RunFolder, write_json


def read_run_predictions(run: RunFolder) -> dict[str, list[Predicted]]:
    """Split -> sentences with gold and predicted tags, of those the run has scored."""
    files = sorted(run.predictions.glob("*.conll")) if run.predictions.is_dir() else []
    return {path.stem: read_predictions(path) for path in files}


def write_history(folder: Path, run: RunFolder, results: Mapping[str, Any] | None) -> None:
    """Copy config.toml and metrics.jsonl, write results.json and TensorBoard events.

    Args:
      folder: the Hub folder.
      run: the run.
      results: the content of results.json, if the model in the folder is the one it is about.
    """
    for path in (run.config, run.metrics):
        if path.is_file():
            shutil.copyfile(path, folder / path.name)
    if results is not None:
        write_json(folder / "results.json", results)
    if run.metrics.is_file():
        write_events(folder / "runs", run.metrics)


def write_events(folder: Path, metrics: Path) -> bool:
    """metrics.jsonl as TensorBoard events; False where tensorboardX is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return False
    writer = SummaryWriter(logdir=str(folder))
    for line in metrics.read_text("utf-8").splitlines():
        values = json.loads(line)
        step, group = values.pop("step"), values.pop("split", "train")
        for name, value in values.items():
            if isinstance(value, (int, float)):
                writer.add_scalar(f"{group}/{name}", value, step)
    writer.close()
    return True
