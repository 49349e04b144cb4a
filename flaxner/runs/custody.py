"""Ownership of an output folder: only the run it belongs to may write there, one at a time."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock, Timeout

from flaxner.files import check_folder, check_writable, make_folder, refuse_odd_path, write_text
from flaxner.runs.kinds import HUB, START, TAGGED
from flaxner.runs.paths import CONTENT, HOLDER, LOCK, RunPaths, contents, is_run, refuse_inside_runs
from flaxner.runs.replacing import half_moved, refuse_half_moved
from flaxner.runs.steps import is_a_step

DELAY = 60.0  # seconds after which NFS shows what another machine wrote, with its default settings


class RunLock:
    """The lock of a folder; the system releases it when the process ends, for whatever reason."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: FileLock | None = None

    def take(self) -> str:
        """Lock the folder for this run, creating it if necessary; return what the file says of us.

        Raises:
          ValueError: another run holds the lock.
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
                f"another run is writing to {self._folder}{holder}: wait for it to finish, or use "
                "another folder"
            ) from error
        except NotImplementedError:
            pass  # A file system without locks, such as some network ones: continue without.
        self._lock = lock
        ours = f"process {os.getpid()} on {socket.gethostname()}\n"
        write_text(self._folder / HOLDER, ours)
        return ours

    def is_seen(self, holder: str) -> bool:
        """Whether this process sees who holds the lock; waits for a network file system's cache."""
        end = time.monotonic() + DELAY
        while True:
            with contextlib.suppress(OSError):
                if (self._folder / HOLDER).read_text("utf-8") == holder:
                    return True
            if time.monotonic() > end:
                return False
            time.sleep(0.1)

    def release(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def refuse_occupied(
    run: RunPaths, *, overwrite: bool, resume: bool, reading: Iterable[str | Path]
) -> None:
    """Reject a folder that this run may not write to; arguments as in `RunFolder.check`.

    Raises:
      ValueError: the folder is occupied, is being written to, or is read by this run.
      OSError: nothing can be written there.
    """
    check_writable(run.path)
    refuse_odd_path(run.path)
    _refuse_reading(run, reading)
    refuse_inside_runs(run.path)
    shown = contents(run.path)
    if os.path.lexists(run.path / LOCK):
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
            f"{run.path} contains {first!r}, which no run wrote: choose another --output-dir"
        )
    if not (overwrite or resume):
        raise ValueError(
            f"the output folder {run.path} already holds a run: continue that run with --resume, "
            f"replace it with --overwrite, or choose another --output-dir"
        )
    check_folder(run.hub, HUB)


def _is_free(run: RunPaths, name: str) -> bool:
    """Whether a part is an empty folder, or a link to a place with nothing in the run's way."""
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
    """Reject a run that reads what it is about to replace."""
    here = Path(os.path.realpath(run.path))
    parts = [Path(os.path.realpath(run.path / name)) for name in CONTENT]
    parts += [Path(os.path.realpath(path)) for path in run.members()]
    for source in reading:
        real = Path(os.path.realpath(source))
        if not real.exists():
            continue
        if real == here or any(real.is_relative_to(part) for part in parts):
            raise ValueError(
                f"the run would overwrite {source}, which it reads: choose another --output-dir"
            )
