"""Who may write into an output folder: the run whose it is, and only one at a time."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock, Timeout

from flaxner.files import check_folder, make_folder, refuse_odd_path, write_text
from flaxner.runs.kinds import HUB, START, TAGGED
from flaxner.runs.paths import CONTENT, HOLDER, LOCK, RunPaths, is_run, refuse_inside_runs
from flaxner.runs.replacing import half_moved, refuse_half_moved
from flaxner.runs.steps import is_a_step


class RunLock:
    """The lock of a folder; the system lets go of it when the process ends, however it does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: FileLock | None = None

    def take(self) -> None:
        """Be the only run that writes here, until released; the folder is made if need be.

        Raises:
          ValueError: another run is.
        """
        make_folder(self._folder)
        lock = FileLock(self._folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            holder = ""
            with contextlib.suppress(OSError):
                holder = f" ({(self._folder / HOLDER).read_text('utf-8').strip()})"
            raise ValueError(
                f"another run is writing to {self._folder}{holder}: wait for it, or write elsewhere"
            ) from error
        except NotImplementedError:
            pass  # A file system without locks, as some network ones: go on without one.
        self._lock = lock
        write_text(self._folder / HOLDER, f"process {os.getpid()} on {socket.gethostname()}\n")

    def release(self) -> None:
        """Let other runs write here."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def refuse_occupied(
    run: RunPaths, *, overwrite: bool, resume: bool, reading: Iterable[str | Path]
) -> None:
    """Refuse a folder that is not this run's to write; arguments as `RunFolder.check`.

    Raises:
      ValueError: occupied, being written to, or read by this very run.
    """
    if run.path.exists() and not run.path.is_dir():
        raise ValueError(f"the output folder {run.path} is a file")
    refuse_odd_path(run.path)
    _refuse_reading(run, reading)
    refuse_inside_runs(run.path)
    names = sorted(p.name for p in run.path.iterdir()) if run.path.is_dir() else []
    # Hidden files and what a file system has at its top are nobody's output.
    shown = [n for n in names if not n.startswith(".") and n != "lost+found"]
    if LOCK in names:
        lock = RunLock(run.path)
        lock.take()
        lock.release()
    if not overwrite:
        refuse_half_moved(run.path)
    shown = [name for name in shown if not _is_free(run, name)]
    if not shown:
        return
    if not is_run(run.path) and half_moved(run.path) is None:
        first = next((name for name in shown if name in CONTENT), shown[0])
        raise ValueError(
            f"{run.path} holds {first!r}, which no run wrote: name another --output-dir"
        )
    if not (overwrite or resume):
        raise ValueError(
            f"the output folder {run.path} is in use: continue that run with --resume, "
            f"replace it with --overwrite, or name another --output-dir"
        )
    check_folder(run.hub, HUB)


def _is_free(run: RunPaths, name: str) -> bool:
    """Whether a part is an empty folder, or a link to where nothing is in a run's way."""
    path = run.path / name
    if name not in CONTENT or is_run(run.path) or (path.exists() and not path.is_dir()):
        return False
    if not path.is_symlink():
        return not any(path.iterdir())
    if path == run.checkpoints:
        return not path.is_dir() or not any(is_a_step(step) for step in path.iterdir())
    kinds = {run.hub: HUB, run.model: START, run.predictions: TAGGED}
    return path in kinds and not any((path / name).exists() for name in kinds[path].names)


def _refuse_reading(run: RunPaths, reading: Iterable[str | Path]) -> None:
    """No run starts from what it is about to replace."""
    here = Path(os.path.realpath(run.path))
    parts = [Path(os.path.realpath(run.path / name)) for name in CONTENT]
    parts += [Path(os.path.realpath(path)) for path in run.members()]
    for source in reading:
        real = Path(os.path.realpath(source))
        if not real.exists():
            continue
        if real == here or any(real.is_relative_to(part) for part in parts):
            raise ValueError(
                f"the run would write over {source}, which it reads: name another --output-dir"
            )
