"""What a tracker is, and which there are."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol


@dataclasses.dataclass(frozen=True)
class Session:
    """The run as trackers know it.

    Attributes:
      name: for people; the run folder's name and the beginning of the id.
      id: the same for all sessions of a run, and for no other run.
      group: what the run is one of many of, a cross-validation say; None: it stands alone.
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
    """Rows of a table, all of the columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


class Tracker(Protocol):
    """A run in one tracker; the methods are called from one thread, in the run's order."""

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Figures of a step, by names such as "train/loss"."""

    def table(self, name: str, table: Table) -> None:
        """A table of the end of the run."""

    def artefact(self, path: Path) -> None:
        """A file of the end of the run."""

    def close(self, *, ended: bool) -> None:
        """The session is over; `ended` if the run is, too."""


class _Known(NamedTuple):
    """Where a tracker's class stands, the library it needs, and the extra that brings it."""

    home: str
    library: str


KNOWN = {
    "tensorboard": _Known("flaxner.tracking.to_tensorboard:TensorBoard", "tensorboardX"),
    "wandb": _Known("flaxner.tracking.to_wandb:WeightsAndBiases", "wandb"),
    "mlflow": _Known("flaxner.tracking.to_mlflow:MLflow", "mlflow"),
    "trackio": _Known("flaxner.tracking.to_trackio:Trackio", "trackio"),
}


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers whose library is not installed.

    Raises:
      ValueError: the first of them, and how to install it.
    """
    for name in names:
        if importlib.util.find_spec(KNOWN[name].library) is None:
            raise ValueError(
                f"--report-to {name} needs {KNOWN[name].library}: pip install 'flaxner[{name}]'"
            )


def open_tracker(name: str, session: Session) -> Tracker:
    """A run in a tracker: a new one, or that of the sessions before."""
    module, _, kind = KNOWN[name].home.partition(":")
    return getattr(importlib.import_module(module), kind)(session)
