"""What a checkpoint holds of a training run."""

from __future__ import annotations

from typing import Any, NamedTuple


class TrainState(NamedTuple):
    """All that a step changes.

    Attributes:
      step: optimizer steps taken, int32 scalar.
      params: path -> float32 array.
      opt_state: optax's.
      average: None, or of a run that publishes a mean of its weights: "mean", path -> array, and
        what the next mean is made of; "count" is how many weights are in it, where that tells.
    """

    step: Any
    params: Any
    opt_state: Any
    average: Any = None

    @property
    def published(self) -> Any:
        """The parameters that are evaluated and published: a mean where there is one."""
        if self.average is None or ("count" in self.average and not int(self.average["count"])):
            return self.params
        return self.average["mean"]
