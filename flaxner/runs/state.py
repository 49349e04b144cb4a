"""What a checkpoint holds of a training run."""

from __future__ import annotations

from typing import Any, NamedTuple


class TrainState(NamedTuple):
    """All that a step changes.

    Attributes:
      step: optimizer steps taken, int32 scalar.
      params: path -> float32 array.
      opt_state: optax's.
    """

    step: Any
    params: Any
    opt_state: Any
