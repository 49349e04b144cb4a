"""The tracker protocol and the known trackers."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol


@dataclasses.dataclass(frozen=True)
class Session:
    """What trackers know about a run.

    Attributes:
      name: display name: the run folder's name and the beginning of the id.
      id: unique to the run, and the same in all of its sessions.
      group: the group that the run belongs to, such as a cross-validation; None if it has none.
      settings: every setting.
      events: folder for TensorBoard's events.
      resumed: whether an earlier session of the run has reported to this tracker.
    """

    name: str
    id: str
    group: str | None
    settings: Mapping[str, Any]
    events: Path
    resumed: bool = False


class Table(NamedTuple):
    """A table; every row has a value for each column."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


class Tracker(Protocol):
    """A run in one tracker; all methods are called from one thread, in the order of the run."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Log the metrics of a step, by names such as "train/loss"."""

    def table(self, name: str, table: Table) -> None:
        """Log a table at the end of the run."""

    def artefact(self, path: Path) -> None:
        """Log a file at the end of the run."""

    def close(self, *, ended: bool) -> None:
        """End the session; `ended` is true if the run has ended as well."""


class _Known(NamedTuple):
    """The class of a tracker, as module:name, and the library it needs."""

    home: str
    library: str


KNOWN = {
    "tensorboard": _Known("flaxner.tracking.to_tensorboard:TensorBoard", "tensorboardX"),
    "wandb": _Known("flaxner.tracking.to_wandb:WeightsAndBiases", "wandb"),
    "mlflow": _Known("flaxner.tracking.to_mlflow:MLflow", "mlflow"),
    "trackio": _Known("flaxner.tracking.to_trackio:Trackio", "trackio"),
}


def check_trackers(names: Sequence[str]) -> None:
    """Reject trackers whose library is not installed.

    Raises:
      ValueError: a library is missing; the message says how to install it.
    """
    for name in names:
        if importlib.util.find_spec(KNOWN[name].library) is None:
            raise ValueError(
                f"--report-to {name} needs {KNOWN[name].library}: pip install 'flaxner[{name}]'"
            )


def open_tracker(name: str, session: Session) -> Tracker:
    """Open the run in a tracker, creating it or continuing that of earlier sessions."""
    module, _, kind = KNOWN[name].home.partition(":")
    return getattr(importlib.import_module(module), kind)(session)
