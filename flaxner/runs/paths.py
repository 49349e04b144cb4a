"""The layout of a run's folder."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

from flaxner.config.toml import HEADING
from flaxner.files.reading import holds
from flaxner.files.records import read_record

RUN = "a run of flaxner"
LOCK, HOLDER = ".lock", ".lock-holder"
# What a run writes. Its folds (in cross-validation) or seeds are run folders themselves.
CONTENT = ("config.toml", "model", "checkpoints", "metrics.jsonl", "speed.jsonl", "results.json",
           "predictions", "trackers.json", "tensorboard", "report.html", "hub")  # fmt: skip
FOLDS, SEEDS = "fold-[0-9]*", "seed-[0-9]*"
RESOLVED = {"model", "output_dir", "epochs", "batch_size", "learning_rate", "seed"}


class RunPaths:
    """Paths of one output folder."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.toml"
        self.model = self.path / "model"  # config.json and tokenizer, from the first step on
        self.checkpoints = self.path / "checkpoints"
        self.metrics = self.path / "metrics.jsonl"
        self.speed = self.path / "speed.jsonl"  # timings, which a resumed run does not reproduce
        self.results = self.path / "results.json"
        self.predictions = self.path / "predictions"
        self.trackers = self.path / "trackers.json"  # the run's id in the experiment trackers
        self.events = self.path / "tensorboard"
        self.report = self.path / "report.html"
        self.hub = self.path / "hub"
        self.restart = self.config  # the settings to resume with; a fold resumes the whole

    def beside(self, suffix: str) -> str:
        """Return the path of a folder next to this one, with its name and a suffix."""
        named = self.path.name.strip(".")  # not so `.` and `..`
        return f"{self.path if named else self.path.resolve()}{suffix}"

    def event_files(self) -> list[Path]:
        """Return TensorBoard's files, sorted by name."""
        return sorted(self.events.glob("events.out.tfevents.*"))

    def members(self) -> list[Path]:
        """Return the run folders of the folds or seeds in this folder, fold-2 before fold-10."""
        patterns = (FOLDS, SEEDS) if self._names_seeds() else (FOLDS,)
        paths = (path for pattern in patterns for path in self.path.glob(pattern))
        return sorted(filter(is_run, paths), key=lambda path: (len(path.name), path.name))

    def _names_seeds(self) -> bool:
        """Whether the settings ask for several seeds; otherwise a folder seed-1 is not ours."""
        try:
            seeds = tomllib.loads(self.config.read_text("utf-8")).get("seeds")
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(seeds, int) and seeds > 1


def is_run(folder: str | Path) -> bool:
    """Whether a folder is a run's, by its record or, if it has none, by its contents."""
    folder = Path(folder)
    record = read_record(folder)
    if record is not None:
        return record.kind == RUN
    if os.path.lexists(folder / "config.toml"):  # Hub folders have one as well
        kept = os.path.lexists(folder / "checkpoints")
        kept = kept or any(any(folder.glob(f"{one}/config.toml")) for one in (FOLDS, SEEDS))
        return kept and _is_resolved(folder / "config.toml")
    try:  # the run may have been killed before it wrote its settings
        return (folder / LOCK).read_text("utf-8").startswith("process ") and (
            folder / "checkpoints"
        ).is_dir()
    except (OSError, UnicodeDecodeError):
        return False


def _is_resolved(config: Path) -> bool:
    """Whether a file holds every setting, as a run writes it, unlike one written by a user."""
    try:
        text = config.read_text("utf-8")
        return text.startswith(HEADING) or tomllib.loads(text).keys() >= RESOLVED
    except (OSError, ValueError, RecursionError):
        return False


def contents(folder: Path) -> list[str]:
    """Return the names in a folder, sorted; none if it does not exist.

    Hidden files and lost+found at the root of a file system do not count.
    """
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return [name for name in names if not name.startswith(".") and name != "lost+found"]


def refuse_runs(path: str | Path, own_hub: Path | None = None) -> None:
    """Reject writing anything else into a run's folder.

    Args:
      path: the folder to write to.
      own_hub: hub/ of the run being converted, which may be written.

    Raises:
      ValueError: the folder is a run's, or part of one.
    """
    real = Path(os.path.realpath(path))
    if own_hub is not None and real == Path(os.path.realpath(own_hub)):
        return
    if is_run(real):
        more = Path(path) / "more"
        raise ValueError(f"{path} is a run's folder: choose another folder, such as {more}")
    refuse_inside_runs(real)


def refuse_inside_runs(path: str | Path) -> None:
    """Reject writing into what a run keeps: its checkpoints, model, predictions and hub/.

    Raises:
      ValueError: the folder is inside one of these.
    """
    real = Path(os.path.realpath(path))
    for folder in (real, *real.parents):
        if holds(folder / "run.json", "progress"):
            raise ValueError(f"{path} is inside the checkpoint {folder}: choose another folder")
        part = real.relative_to(folder).parts[:1]
        if part and part[0] in CONTENT and is_run(folder):
            raise ValueError(f"{path} belongs to the run in {folder}: choose another folder")
