"""The training state that a checkpoint holds."""

from __future__ import annotations

from typing import Any, NamedTuple


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
