"""The folder of a run: who may write there, and what becomes of what was there before."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from flaxner.config.files import load_settings
from flaxner.config.train import TrainConfig
from flaxner.devices.processes import on_main
from flaxner.files import Kind, check_folder, make_folder, write_folder, write_json, write_text
from flaxner.files.atomic import free_name, sweep_parts
from flaxner.files.records import add_to_record, is_ours, read_record
from flaxner.runs.paths import CONTENT, HOLDER, LOCK, RUN, RunPaths, is_run, refuse_inside_runs
from flaxner.runs.replacing import forget_replaced, set_aside
from flaxner.runs.steps import is_a_step


def holds_our_model(folder: Path) -> bool:
    """Whether a folder is a model's that flaxner wrote: its config.json has a block of ours."""
    try:
        return "flaxner" in json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def holds_a_model(folder: Path) -> bool:
    """Whether a folder is a model's, as the Hub has them."""
    try:
        return "model_type" in json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


HUB = Kind(
    "a model folder",
    seal="config.json",
    names=("config.json", "model.safetensors", "tokenizer_config.json", "README.md"),
    card="README.md",
    remedy=" (convert_and_push.py --new-card replaces it)",
    known=holds_our_model,
    clone=holds_a_model,
)
START = Kind("the model of a run", "config.json", ("config.json",), known=holds_our_model)
TAGGED = Kind("the predictions of a run", "", (), known=lambda folder: is_run(folder.parent))


def _says(path: Path, settings: TrainConfig) -> bool:
    """Whether a file of settings, one of an earlier version perhaps, says the same."""
    try:
        return TrainConfig(**load_settings(path)) == settings
    except ValueError:
        return False


class RunFolder(RunPaths):
    """One output folder (docs/architecture.md): its custody, and what is written into it.

    Methods that read or write it may be called in every process of a run; the main one acts.
    """

    _lock: FileLock | None = None
    _claimed = False

    def check(self, *, overwrite: bool, resume: bool, reading: Iterable[str | Path] = ()) -> None:
        """Refuse a folder that is not this run's to write, before anything is computed.

        Args:
          overwrite: a run that is there may be replaced.
          resume: a run that is there may be continued.
          reading: files and folders that the run reads; others than these are passed over.

        Raises:
          ValueError: occupied, being written to, or read by this very run.
        """
        on_main(lambda: self._check(overwrite, resume, tuple(reading)))

    def _check(self, overwrite: bool, resume: bool, reading: tuple[str | Path, ...]) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"the output folder {self.path} is a file")
        self._refuse_reading(reading)
        refuse_inside_runs(self.path)
        names = sorted(p.name for p in self.path.iterdir()) if self.path.is_dir() else []
        # Hidden files and what a file system has at its top are nobody's output.
        shown = [n for n in names if not n.startswith(".") and n != "lost+found"]
        if LOCK in names:
            self._take()
            self.release()
        if not shown:
            return
        shown = [name for name in shown if not self._is_free(name)]
        if not shown:
            return
        if not is_run(self.path):
            first = next((name for name in shown if name in CONTENT), shown[0])
            raise ValueError(
                f"{self.path} holds {first!r}, which no run wrote: name another --output-dir"
            )
        if not (overwrite or resume):
            raise ValueError(
                f"the output folder {self.path} is in use: continue that run with --resume, "
                f"replace it with --overwrite, or name another --output-dir"
            )
        check_folder(self.hub, HUB)

    def _is_free(self, name: str) -> bool:
        """Whether a part is an empty folder, or a link to where nothing is in a run's way."""
        path = self.path / name
        if name not in CONTENT or is_run(self.path) or (path.exists() and not path.is_dir()):
            return False
        if not path.is_symlink():
            return not any(path.iterdir())
        if path == self.checkpoints:
            return not path.is_dir() or not any(is_a_step(step) for step in path.iterdir())
        kinds = {self.hub: HUB, self.model: START, self.predictions: TAGGED}
        return path in kinds and not any((path / name).exists() for name in kinds[path].names)

    def _refuse_reading(self, reading: tuple[str | Path, ...]) -> None:
        """No run starts from what it is about to replace."""
        here = Path(os.path.realpath(self.path))
        parts = [Path(os.path.realpath(self.path / name)) for name in CONTENT]
        parts += [Path(os.path.realpath(path)) for path in self.members()]
        for source in reading:
            real = Path(os.path.realpath(source))
            if not real.exists():
                continue
            if real == here or any(real.is_relative_to(part) for part in parts):
                raise ValueError(
                    f"the run would write over {source}, which it reads: name another --output-dir"
                )

    def lock(self) -> None:
        """Be the only run that writes here, until released or the process ends, however it does.

        Raises:
          ValueError: another run is.
        """
        on_main(self._take)

    def _take(self) -> None:
        make_folder(self.path)
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            holder = ""
            with contextlib.suppress(OSError):
                holder = f" ({(self.path / HOLDER).read_text('utf-8').strip()})"
            raise ValueError(
                f"another run is writing to {self.path}{holder}: "
                "wait for it or name another --output-dir"
            ) from error
        except NotImplementedError:
            pass  # A file system without locks, as some network ones: go on without one.
        self._lock = lock
        write_text(self.path / HOLDER, f"process {os.getpid()} on {socket.gethostname()}\n")

    def release(self) -> None:
        """Let other runs write here."""
        if self._claimed:
            with contextlib.suppress(OSError):
                events = [f"{self.events.name}/{path.name}" for path in self.event_files()]
                add_to_record(self.path, RUN, [self.metrics.name, *events])
            self._claimed = False
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def claim(self, *, overwrite: bool) -> None:
        """Make the folder this run's; call with the lock held.

        What another run left here is set aside until this one has ended, see `ended`.
        """
        on_main(lambda: self._claim(overwrite))

    def _claim(self, overwrite: bool) -> None:
        sweep_parts(self.path)
        if overwrite and is_run(self.path):
            set_aside(self)
        add_to_record(self.path, RUN, ())
        self._claimed = True

    def write_settings(self, settings: TrainConfig) -> None:
        """Write config.toml; one that was edited is set aside unless it says the same."""
        on_main(lambda: self._write_settings(settings))

    def _write_settings(self, settings: TrainConfig) -> None:
        if not self._is_ours(self.config) and _says(self.config, settings):
            return
        self._make_way(self.config)
        write_text(self.config, settings.to_toml())
        add_to_record(self.path, RUN, [self.config.name])

    def _is_ours(self, path: Path) -> bool:
        return is_ours(self.path, path.name, read_record(self.path))

    def _make_way(self, path: Path) -> None:
        """Rename a file of our folder that somebody else wrote or changed."""
        if os.path.lexists(path) and not self._is_ours(path):
            os.rename(path, free_name(path.with_name(f"{path.name}.before")))

    def write_model(self, fill: Callable[[Path], object]) -> None:
        """Write model/: config.json and tokenizer of the model in training.

        Raises:
          ValueError: a file there was changed by somebody.
        """
        on_main(lambda: write_folder(self.model, START, fill))

    def write_predictions(self, fill: Callable[[Path], object]) -> list[str]:
        """Write predictions/, in the main process; gives what is kept there, in sentences."""
        return write_folder(self.predictions, TAGGED, fill)

    def write_trackers(self, content: dict[str, Any]) -> None:
        """Write trackers.json, in the main process."""
        self._make_way(self.trackers)
        write_json(self.trackers, content)
        add_to_record(self.path, RUN, [self.trackers.name])

    def write_report(self, page: str) -> None:
        """Write report.html, in the main process; one that was edited is set aside."""
        self._make_way(self.report)
        write_text(self.report, page)
        add_to_record(self.path, RUN, [self.report.name])

    def write_results(self, results: dict[str, Any]) -> None:
        """Write results.json, in the main process; once it is there, the run has ended."""
        self._make_way(self.results)
        write_json(self.results, results)
        add_to_record(self.path, RUN, [self.results.name, self.metrics.name])

    def reopen(self) -> None:
        """Take results.json away: the run has not ended yet."""
        on_main(self._reopen)

    def _reopen(self) -> None:
        self._make_way(self.results)
        self.results.unlink(missing_ok=True)

    def ended(self) -> list[str]:
        """Delete what `claim` had set aside; gives what is kept of it, in sentences."""
        return on_main(lambda: forget_replaced(self))

    def best_step(self) -> int | None:
        """The step whose model hub/ holds, if the run has ended."""
        results = self.finished()
        return None if results is None else results["train"]["best_step"]

    def finished(self) -> dict[str, Any] | None:
        """results.json, which a run writes last, if the run has ended.

        Raises:
          ValueError: it is there and no run's.
        """
        return on_main(self._finished)

    def _finished(self) -> dict[str, Any] | None:
        if not self.results.is_file():
            return None
        try:
            results = json.loads(self.results.read_text("utf-8"))
            if "best_step" not in results["train"]:
                raise KeyError("best_step")
            return results
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.results} is not what a run writes: move it away, then --resume"
            ) from error
