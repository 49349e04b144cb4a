"""What lies where in the folder of a run."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

from flaxner.files.records import read_record

RUN = "a run of flaxner"
LOCK, HOLDER = ".lock", ".lock-holder"
# What a run writes; its folds (of a cross-validation) or seeds are folders of runs themselves.
CONTENT = ("config.toml", "model", "checkpoints", "metrics.jsonl", "speed.jsonl", "results.json",
           "predictions", "trackers.json", "tensorboard", "report.html", "hub")  # fmt: skip
FOLDS, SEEDS = "fold-[0-9]*", "seed-[0-9]*"
HEADING = "# flaxner: repeat this run with"
RESOLVED = {"model", "output_dir", "epochs", "batch_size", "learning_rate", "seed"}


class RunPaths:
    """Paths of one output folder."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.toml"
        self.model = self.path / "model"  # config.json and tokenizer, from the first step on
        self.checkpoints = self.path / "checkpoints"
        self.metrics = self.path / "metrics.jsonl"
        self.speed = self.path / "speed.jsonl"  # times, which a resumed run does not repeat
        self.results = self.path / "results.json"
        self.predictions = self.path / "predictions"
        self.trackers = self.path / "trackers.json"  # what the run is called there
        self.events = self.path / "tensorboard"
        self.report = self.path / "report.html"
        self.hub = self.path / "hub"
        self.restart = self.config  # the settings that continue it: a fold's are the whole's

    def event_files(self) -> list[Path]:
        """TensorBoard's files, by their names."""
        return sorted(self.events.glob("events.out.tfevents.*"))

    def members(self) -> list[Path]:
        """The folders of a cross-validation's folds, or of the runs with several seeds."""
        patterns = (FOLDS, SEEDS) if self._names_seeds() else (FOLDS,)
        paths = (path for pattern in patterns for path in self.path.glob(pattern))
        return sorted(path for path in paths if is_run(path))

    def _names_seeds(self) -> bool:
        """Whether the settings ask for several seeds: else what is called seed-1 is not ours."""
        try:
            seeds = tomllib.loads(self.config.read_text("utf-8")).get("seeds")
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(seeds, int) and seeds > 1


def is_run(folder: str | Path) -> bool:
    """Whether a folder is a run's: its record says so, or its content, of an earlier version."""
    folder = Path(folder)
    record = read_record(folder)
    if record is not None:
        return record.kind == RUN
    if os.path.lexists(folder / "config.toml"):  # as a Hub folder has it, too
        kept = os.path.lexists(folder / "checkpoints") or any(folder.glob(f"{FOLDS}/config.toml"))
        return kept and _is_resolved(folder / "config.toml")
    try:  # killed before it had written its settings
        return (folder / LOCK).read_text("utf-8").startswith("process ") and (
            folder / "checkpoints"
        ).is_dir()
    except (OSError, UnicodeDecodeError):
        return False


def _is_resolved(config: Path) -> bool:
    """Whether a file holds every setting, as a run writes them: not a site's, not a user's few."""
    try:
        text = config.read_text("utf-8")
        return text.startswith(HEADING) or tomllib.loads(text).keys() >= RESOLVED
    except (OSError, ValueError, RecursionError):
        return False


def refuse_runs(path: str | Path, own_hub: Path | None = None) -> None:
    """Refuse to write something else into a run's folder.

    Args:
      path: the folder to write to.
      own_hub: the hub/ of the run that is being converted, which may be written.

    Raises:
      ValueError: the folder is a run's, or belongs to one.
    """
    real = Path(os.path.realpath(path))
    if own_hub is not None and real == Path(os.path.realpath(own_hub)):
        return
    if is_run(real):
        raise ValueError(f"{path} is a run: name another folder, for example {Path(path) / 'more'}")
    refuse_inside_runs(real)


def refuse_inside_runs(path: str | Path) -> None:
    """Refuse to write into what a run keeps: its checkpoints, model, predictions and hub/.

    Raises:
      ValueError: the folder lies in one of these.
    """
    real = Path(os.path.realpath(path))
    for folder in (real, *real.parents):
        if _is_checkpoint(folder):
            raise ValueError(f"{path} lies in the checkpoint {folder}: name another folder")
        part = real.relative_to(folder).parts[:1]
        if part and part[0] in CONTENT and is_run(folder):
            raise ValueError(f"{path} belongs to the run in {folder}: name another folder")


def _is_checkpoint(folder: Path) -> bool:
    try:
        return "progress" in json.loads((folder / "run.json").read_text("utf-8"))
    except (OSError, ValueError, TypeError):
        return False
