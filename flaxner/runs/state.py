"""The training state that a checkpoint holds, and where it is saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from flaxner.runs.steps import Progress


class TrainState(NamedTuple):
    """Everything that a step changes.

    Attributes:
      step: optimizer steps taken, int32 scalar.
      params: path -> float32 array.
      opt_state: the state of the optax optimizer.
      average: None, or, if the run publishes a mean of its weights, a dict of "mean" (path ->
        array) and whatever the next mean needs; "count", if present, is the number of weights
        averaged.
    """

    step: Any
    params: Any
    opt_state: Any
    average: Any = None

    @property
    def published(self) -> Any:
        """The parameters to evaluate and publish: the mean if there is one."""
        if self.average is None or ("count" in self.average and not int(self.average["count"])):
            return self.params
        return self.average["mean"]


class Keeper(Protocol):
    """Where a run saves its state: its `Checkpoints`, or something simpler."""

    def save(
        self,
        state: TrainState,
        progress: Progress,
        fingerprint: Mapping[str, Any],
        published: Mapping[str, Any],
        /,
    ) -> None:
        """Save this state; called after evaluations, every `save_every` steps and when stopping.

        A resumed run may save the state of the step it resumed from again. `published` are the
        parameters of the model, of which the state may have only those that training changes.
        """

    def wait(self) -> None:
        """Wait until the last state is safe."""
