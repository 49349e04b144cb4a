"""TensorBoard: event files in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxner.tracking.reported import grouped, lines_of
from flaxner.tracking.tracker import Session, Table


class TensorBoard:
    """TensorBoard events; each session adds a file, and TensorBoard reads all files as one run."""

    def __init__(self, session: Session) -> None:
        from tensorboardX import SummaryWriter

        # A run that starts over hides the events of one that stopped before its first checkpoint.
        purge = None if session.resumed else 0
        self._writer = SummaryWriter(logdir=str(session.events), purge_step=purge)
        if not session.resumed:
            values = [(name, str(value)) for name, value in session.settings.items()]
            settings = Table(("setting", "value"), values)
            self._writer.add_text("settings", _markdown(settings), 0)
        self._step = 0

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker.metrics`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()
        self._step = step

    def table(self, name: str, table: Table) -> None:
        """Log the table as Markdown text."""
        self._writer.add_text(name, _markdown(table), self._step)

    def artefact(self, path: Path) -> None:
        """Log the path of the file, as TensorBoard stores no files."""
        self._writer.add_text("files", f"`{path}`", self._step)

    def close(self, *, ended: bool) -> None:
        """See `Tracker.close`."""
        self._writer.close()


def _markdown(table: Table) -> str:
    rows = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "\n".join(f"| {' | '.join(_cell(value) for value in row)} |" for row in rows)


def _cell(value: Any) -> str:
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def write_events(folder: Path, metrics: Path) -> bool:
    """Write metrics.jsonl as TensorBoard events; return False if tensorboardX is not installed."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return False
    writer = SummaryWriter(logdir=str(folder))
    for line in lines_of(metrics):
        step, values = grouped(line)
        for name, value in values.items():
            writer.add_scalar(name, value, step)
    writer.close()
    return True
