"""Weights & Biases; its environment variables and login set the destination."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxner.tracking.tracker import Session, Table

OFFLINE = ("offline", "disabled", "dryrun")


class WeightsAndBiases:
    """A run in Weights & Biases, identified by its id."""

    def __init__(self, session: Session) -> None:
        import wandb

        if os.environ.get("WANDB_MODE") not in OFFLINE and not wandb.login(prompt=False):
            # otherwise wandb would prompt for a key in the middle of training
            raise RuntimeError("there is no API key: run `wandb login`, or set WANDB_MODE=offline")
        self._wandb: Any = wandb
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "flaxner"),
            id=session.id,
            name=session.name,
            group=session.group,
            config=dict(session.settings),
            resume="allow",
            settings=wandb.Settings(quiet=True, console="off"),
        )

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker.metrics`."""
        self._run.log(dict(values), step=step)

    def table(self, name: str, table: Table) -> None:
        """See `Tracker.table`."""
        figure = self._wandb.Table(columns=list(table.columns), data=[list(r) for r in table.rows])
        self._run.log({name: figure})

    def artefact(self, path: Path) -> None:
        """Log the file as an artefact; an HTML page also appears among the charts."""
        if path.suffix == ".html":
            self._run.log({path.stem: self._wandb.Html(path.read_text("utf-8"), inject=False)})
        artefact = self._wandb.Artifact(f"{path.stem}-{self._run.id}", type="report")
        artefact.add_file(str(path))
        self._run.log_artifact(artefact)

    def close(self, *, ended: bool) -> None:
        """See `Tracker.close`."""
        self._run.finish(exit_code=0 if ended else 1)
