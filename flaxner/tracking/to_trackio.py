"""Trackio: a local store or a Space on the Hub; its environment variables set the destination."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxner.tracking.tracker import Session, Table


class Trackio:
    """A run in Trackio, identified by its name."""

    def __init__(self, session: Session) -> None:
        import trackio

        self._trackio: Any = trackio
        self._run: Any = trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", "flaxner"),
            name=session.name,
            group=session.group,
            config={name: _plain(value) for name, value in session.settings.items()},
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker.metrics`."""
        self._run.log(dict(values), step=step)

    def table(self, name: str, table: Table) -> None:
        """See `Tracker.table`."""
        rows = [list(row) for row in table.rows]
        self._run.log({name: self._trackio.Table(columns=list(table.columns), data=rows)})

    def artefact(self, path: Path) -> None:
        """Log the file as an artefact of the project, under the run's name."""
        artefact = self._trackio.Artifact(f"{path.stem}-{self._run.name}", type="report")
        artefact.add_file(str(path))
        self._run.log_artifact(artefact)

    def close(self, *, ended: bool) -> None:
        """See `Tracker.close`."""
        self._run.finish()


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
