"""The output folder of a run: what is written there, and what happens to earlier contents."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flaxner.config.fields import each
from flaxner.config.files import load_settings
from flaxner.config.train import TrainConfig
from flaxner.devices import processes
from flaxner.devices.processes import on_main
from flaxner.files import write_folder
from flaxner.files.atomic import json_text, sweep_parts
from flaxner.files.records import (
    add_to_record,
    is_ours,
    make_way,
    read_record,
    rename_away,
    write_ours,
)
from flaxner.runs.custody import RunLock, refuse_occupied
from flaxner.runs.kinds import START, TAGGED
from flaxner.runs.paths import RUN, RunPaths, is_run
from flaxner.runs.replacing import forget_replaced, half_moved, set_aside
from flaxner.runs.speed_log import is_speed_log


def _says(path: Path, settings: TrainConfig) -> bool:
    """Whether a settings file, possibly from an earlier version, is equivalent to `settings`."""
    try:
        return TrainConfig(**load_settings(path)) == settings
    except ValueError:
        return False


class RunFolder(RunPaths):
    """One output folder (docs/architecture.md): its ownership, and what is written into it.

    Methods that lock, clear or write the folder may be called in every process of a run unless they
    say otherwise; only the main process acts.
    """

    _claimed = False

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._lock = RunLock(self.path)

    def check(self, *, overwrite: bool, resume: bool, reading: Iterable[str | Path] = ()) -> None:
        """Reject a folder that this run may not write to, before anything is computed.

        Args:
          overwrite: whether an existing run may be replaced.
          resume: whether an existing run may be continued.
          reading: files and folders that the run reads; names that do not exist are ignored.

        Raises:
          ValueError: the folder is occupied, is being written to, or is read by this run.
        """
        sources = tuple(reading)
        on_main(lambda: refuse_occupied(self, overwrite=overwrite, resume=resume, reading=sources))

    def lock(self) -> None:
        """Lock the folder for this run, until it is released or the process ends.

        Raises:
          ValueError: another run holds the lock, or not every process sees the folder.
        """
        holder = on_main(self._lock.take)
        blind = processes.where_not(lambda: self._lock.is_seen(holder))
        if blind:
            raise ValueError(
                f"{self.path} is not the same folder in every process (not in process "
                f"{blind[0]}): give an --output-dir that all of them share"
            )

    def release(self) -> None:
        """Release the lock, so that other runs may write here."""
        if self._claimed:
            with contextlib.suppress(OSError):
                events = [f"{self.events.name}/{path.name}" for path in self.event_files()]
                logs = [self.metrics.name, self.speed.name]
                add_to_record(self.path, RUN, [*logs, *events])
            self._claimed = False
        self._lock.release()

    def claim(self, *, overwrite: bool) -> None:
        """Make the folder this run's own; call with the lock held.

        What another run left here is set aside until this run has finished, see `ended`.
        """
        on_main(lambda: self._claim(overwrite))

    def _claim(self, overwrite: bool) -> None:
        sweep_parts(self.path)
        if overwrite and (is_run(self.path) or half_moved(self.path) is not None):
            set_aside(self)
        add_to_record(self.path, RUN, ())
        self._claimed = True

    def write_settings(self, settings: TrainConfig) -> None:
        """Write config.toml; one edited by the user is set aside unless it is equivalent."""
        on_main(lambda: self._write_settings(settings))

    def _write_settings(self, settings: TrainConfig) -> None:
        settings = named_anywhere(settings, self.path)
        ours = is_ours(self.path, self.config.name, read_record(self.path))
        if not ours and _says(self.config, settings):
            return
        write_ours(self.config, settings.to_toml(), RUN)

    def take_speed_log(self) -> Path:
        """Return the path of speed.jsonl; a file there that no run wrote is set aside."""
        if os.path.lexists(self.speed) and not is_speed_log(self.speed):
            rename_away(self.speed)
        return self.speed

    def write_model(self, fill: Callable[[Path], object]) -> None:
        """Write model/: config.json and tokenizer of the model being trained.

        Raises:
          ValueError: somebody changed a file there.
        """
        on_main(lambda: write_folder(self.model, START, fill))

    def write_predictions(self, fill: Callable[[Path], object]) -> list[str]:
        """Write predictions/, in the main process; return sentences about the files kept there."""
        return write_folder(self.predictions, TAGGED, fill)

    def write_trackers(self, content: dict[str, Any]) -> None:
        """Write trackers.json, in the main process."""
        write_ours(self.trackers, json_text(content), RUN)

    def write_report(self, page: str) -> None:
        """Write report.html, in the main process; one edited by the user is set aside."""
        write_ours(self.report, page, RUN)

    def write_results(self, results: dict[str, Any]) -> None:
        """Write results.json, in the main process; its existence means that the run has ended."""
        add_to_record(self.path, RUN, [self.metrics.name, self.speed.name])
        write_ours(self.results, json_text(results), RUN)

    def reopen(self) -> None:
        """Remove results.json, because the run has not ended yet."""
        on_main(self._reopen)

    def _reopen(self) -> None:
        make_way(self.results)
        self.results.unlink(missing_ok=True)

    def ended(self) -> list[str]:
        """Delete what `claim` set aside; return sentences about what is kept of it."""
        return on_main(lambda: forget_replaced(self))

    def best_step(self) -> int | None:
        """Return the step of the model in hub/, if the run has ended."""
        results = self.finished()
        return None if results is None else results["train"]["best_step"]

    def finished(self) -> dict[str, Any] | None:
        """Return results.json, which a run writes last, or None; read by the calling process.

        Raises:
          ValueError: the file exists but was not written by a run.
        """
        if not self.results.is_file():
            return None
        try:
            results = json.loads(self.results.read_text("utf-8"))
            if "best_step" not in results["train"]:
                raise KeyError("best_step")
            return results
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.results} was not written by a run: move it away, then use --resume"
            ) from error


def named_anywhere(settings: TrainConfig, folder: Path) -> TrainConfig:
    """Return settings whose names mean the same elsewhere: a local folder becomes `./NAME`, so that
    it is not taken for a model or data set on the Hub. `folder` is the output folder; it is not an
    input, because it was created after the inputs were read.
    """

    def as_path(name: str) -> str:
        here = re.match(r"\w", name) and Path(name).is_dir() and Path(name).resolve() != own
        return f"./{name}" if here else name

    own, named = folder.resolve(), {}
    for field in ("model", "dataset"):
        sources = getattr(settings, field)
        paths = tuple(map(as_path, each(sources)))
        named[field] = paths if isinstance(sources, tuple) else next(iter(paths), None)
    return settings.replace(**named)
