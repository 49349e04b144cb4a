"""The folder of a sweep: who owns it, and what is kept of its trials."""

from __future__ import annotations

import os
from pathlib import Path

from flaxner.files import check_writable
from flaxner.files.records import add_to_record, read_record, remove_ours, write_ours
from flaxner.runs.custody import RunLock
from flaxner.runs.folder import RunFolder
from flaxner.runs.paths import contents, is_run, refuse_inside_runs

SWEEP = "a sweep of flaxner"
JOURNAL, BEST, PAGE = "journal.log", "best.toml", "sweep.html"


class SweepFolder:
    """OUT: journal.log, trial-N/ (one run each), best.toml, sweep.html."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.journal, self.best = self.path / JOURNAL, self.path / BEST
        self.page = self.path / PAGE
        self._lock = RunLock(self.path)

    def open(self, *, resume: bool) -> None:
        """Lock the folder, or refuse it.

        Raises:
          ValueError: it contains something that no sweep wrote, or a sweep that is not to be
            resumed, or another process is writing to it.
        """
        check_writable(self.path)
        refuse_inside_runs(self.path)
        shown = contents(self.path)
        record = read_record(self.path)
        ours = record is not None and record.kind == SWEEP
        if (shown and not ours) or is_run(self.path):
            first = shown[0] if shown else "a run"
            raise ValueError(
                f"{self.path} contains {first!r}, which no sweep wrote: choose another --output-dir"
            )
        if ours and self.journal.exists() and not resume:
            raise ValueError(
                f"{self.path} contains a sweep: continue it with --resume, or choose another "
                "--output-dir"
            )
        if ours and not self.journal.exists() and any(n.startswith("trial-") for n in shown):
            raise ValueError(
                f"{self.journal} is missing, but {self.path} contains trials: restore the journal"
            )
        self._lock.take()
        add_to_record(self.path, SWEEP, ())
        self._mend_journal()

    def close(self) -> None:
        """Record the journal and release the lock."""
        if self.journal.exists():
            add_to_record(self.path, SWEEP, [JOURNAL])
        self._lock.release()

    def _mend_journal(self) -> None:
        """Cut off an incomplete last line, left by a killed process."""
        content = self.journal.read_bytes() if self.journal.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            os.truncate(self.journal, len(whole))

    def trial(self, number: int) -> RunFolder:
        """Return the run folder of a trial."""
        return RunFolder(self.path / f"trial-{number}")

    def write(self, path: Path, text: str) -> None:
        """Write one of our files; an edited version is kept under another name."""
        write_ours(path, text, SWEEP)

    def drop_weights(self, number: int) -> None:
        """Delete a trial's checkpoints and model; keep its settings, curves and scores."""
        run = self.trial(number)
        for part in (run.checkpoints, run.hub):
            if part.is_dir() and not part.is_symlink():
                remove_ours(part)
