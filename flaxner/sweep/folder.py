"""The folder of a sweep: whose it is, and what stays of its trials."""

from __future__ import annotations

import os
from pathlib import Path

from flaxner.files import write_text
from flaxner.files.atomic import free_name
from flaxner.files.records import add_to_record, is_ours, read_record, remove_ours
from flaxner.runs.folder import RunFolder
from flaxner.runs.paths import is_run, refuse_inside_runs

SWEEP = "a sweep of flaxner"
JOURNAL, BEST, PAGE = "journal.log", "best.toml", "sweep.html"


class SweepFolder:
    """OUT: journal.log, trial-N/ (a run each), best.toml, sweep.html."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.journal, self.best = self.path / JOURNAL, self.path / BEST
        self.page = self.path / PAGE
        self._custody = RunFolder(self.path)  # for its lock

    def open(self, *, resume: bool) -> None:
        """Take the folder, or refuse it.

        Raises:
          ValueError: it holds what no sweep wrote, a sweep that is not to be continued, or another
            process writes to it.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"the output folder {self.path} is a file")
        refuse_inside_runs(self.path)
        names = sorted(p.name for p in self.path.iterdir()) if self.path.is_dir() else []
        shown = [name for name in names if not name.startswith(".") and name != "lost+found"]
        record = read_record(self.path)
        ours = record is not None and record.kind == SWEEP
        if (shown and not ours) or is_run(self.path):
            first = shown[0] if shown else "a run"
            raise ValueError(
                f"{self.path} holds {first!r}, which no sweep wrote: name another --output-dir"
            )
        if ours and self.journal.exists() and not resume:
            raise ValueError(
                f"{self.path} holds a sweep: continue it with --resume, or name another "
                "--output-dir"
            )
        if ours and not self.journal.exists() and any(n.startswith("trial-") for n in shown):
            raise ValueError(
                f"{self.journal} is missing, and {self.path} holds trials: put it back"
            )
        self._custody.lock()
        add_to_record(self.path, SWEEP, ())
        self._mend_journal()

    def close(self) -> None:
        """Let others write here."""
        if self.journal.exists():
            add_to_record(self.path, SWEEP, [JOURNAL])
        self._custody.release()

    def _mend_journal(self) -> None:
        """Cut off the half of a line that a killed process has left."""
        content = self.journal.read_bytes() if self.journal.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            os.truncate(self.journal, len(whole))

    def trial(self, number: int) -> RunFolder:
        """The run of a trial."""
        return RunFolder(self.path / f"trial-{number}")

    def write(self, path: Path, text: str) -> None:
        """Write a file of ours; one that was edited is set aside."""
        if os.path.lexists(path) and not is_ours(self.path, path.name, read_record(self.path)):
            os.rename(path, free_name(path.with_name(f"{path.name}.before")))
        write_text(path, text)
        add_to_record(self.path, SWEEP, [path.name])

    def drop_weights(self, number: int) -> None:
        """Delete checkpoints and model of a trial; its settings, curves and scores stay."""
        run = self.trial(number)
        for part in (run.checkpoints, run.hub):
            if part.is_dir() and not part.is_symlink():
                remove_ours(part)
