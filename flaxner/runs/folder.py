"""The folder of a run: who may write there, what lies where, atomic writes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows: no lock there
    fcntl = None  # type: ignore[assignment]

# What a run writes, so that --overwrite deletes a run and nothing else.
LOCK = ".lock"
CONTENT = (
    LOCK,
    "config.toml",
    "model",
    "checkpoints",
    "metrics.jsonl",
    "results.json",
    "predictions",
    "hub",
)
FOLDS = "fold-[0-9]*"  # of a cross-validation, a run's folder each


class RunFolder:
    """Paths and writers of one output folder (docs/architecture.md)."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.toml"
        self.model = self.path / "model"  # config.json and tokenizer, from the first step on
        self.checkpoints = self.path / "checkpoints"
        self.metrics = self.path / "metrics.jsonl"
        self.results = self.path / "results.json"
        self.predictions = self.path / "predictions"
        self.hub = self.path / "hub"
        self.restart = self.config  # the settings that continue it: a fold's are the whole's
        self._lock: IO[str] | None = None

    def check(self, *, overwrite: bool, resume: bool) -> None:
        """Refuse a folder that is another run's, before anything is computed.

        Raises:
          ValueError: occupied, or being written to.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"the output folder {self.path} is a file")
        names = sorted(p.name for p in self.path.iterdir()) if self.path.is_dir() else []
        if not set(names) - {LOCK}:
            return
        if LOCK in names:
            self.lock()
            self.release()
        foreign = [name for name in names if name not in CONTENT]
        if not self.config.is_file() and foreign:
            raise ValueError(
                f"{self.path} holds {foreign[0]!r}, which no run wrote: name another --output-dir"
            )
        if not (overwrite or resume):
            raise ValueError(
                f"the output folder {self.path} is in use: continue that run with --resume, "
                f"replace it with --overwrite, or name another --output-dir"
            )

    def lock(self) -> None:
        """Be the only run that writes here, until released or the process ends, however it does.

        Raises:
          ValueError: another run is.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        file = (self.path / LOCK).open("a+", encoding="utf-8")
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip()
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                file.close()
                raise ValueError(
                    f"another run is writing to {self.path} ({holder}): "
                    "wait for it or name another --output-dir"
                ) from error
            # A file system without locks, as some network ones: go on as one did before locks.
        self._lock = file
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()

    def release(self) -> None:
        """Let other runs write here."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def claim(self, *, overwrite: bool) -> None:
        """Make the folder this run's, empty of other runs' files; call with the lock held."""
        folds = [path.name for path in self.path.glob(FOLDS)]
        for name in (*CONTENT, *folds) if overwrite else ():
            target = self.path / name
            if target.is_dir():
                shutil.rmtree(target)
            elif name != LOCK:
                target.unlink(missing_ok=True)

    def best_step(self) -> int | None:
        """The step whose model hub/ holds, if the run has ended."""
        results = self.finished()
        return None if results is None else results["train"]["best_step"]

    def finished(self) -> dict[str, Any] | None:
        """results.json, which a run writes last, if the run has ended."""
        if not self.results.is_file():
            return None
        return json.loads(self.results.read_text("utf-8"))
