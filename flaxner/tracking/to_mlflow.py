"""MLflow; MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME set the destination."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxner.tracking.tracker import Session, Table

TAG = "flaxner.run"  # identifies a run, so that later sessions find it
LONGEST = 500  # characters of a parameter that older servers accept


class MLflow:
    """A run in MLflow, identified by a tag."""

    def __init__(self, session: Session) -> None:
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self._client: Any = MlflowClient()
        self._metric = Metric
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "flaxner")
        there = self._client.get_experiment_by_name(name)
        experiment = there.experiment_id if there else self._client.create_experiment(name)
        runs = self._client.search_runs([experiment], f"tags.`{TAG}` = '{session.id}'")
        if runs:
            self._id = runs[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        tags = {TAG: session.id} | ({"flaxner.group": session.group} if session.group else {})
        self._id = self._client.create_run(experiment, run_name=session.name, tags=tags).info.run_id
        params = [Param(k, str(v)[:LONGEST]) for k, v in session.settings.items()]
        self._client.log_batch(self._id, params=params)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker.metrics`."""
        now = int(1000 * time.time())
        every = [self._metric(name, float(value), now, step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=every)

    def table(self, name: str, table: Table) -> None:
        """Log the table as JSON, which MLflow shows as a table."""
        columns = {
            column: [row[place] for row in table.rows] for place, column in enumerate(table.columns)
        }
        self._client.log_table(self._id, columns, f"{name}.json")

    def artefact(self, path: Path) -> None:
        """See `Tracker.artefact`."""
        self._client.log_artifact(self._id, str(path))

    def close(self, *, ended: bool) -> None:
        """See `Tracker.close`."""
        self._client.set_terminated(self._id, "FINISHED" if ended else "KILLED")
