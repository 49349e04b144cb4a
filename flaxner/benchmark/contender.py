"""The interface of a contender in the training benchmark, and what it reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol


@dataclasses.dataclass(frozen=True)
class Slice:
    """Measurements of a stretch of training.

    Attributes:
      seconds: wall-clock time until the last step has finished.
      tokens: real tokens.
      slots: token positions computed, padding included.
      sentences: sentences seen.
      squares: sum of the squared segment lengths, for the FLOPs of attention.
      loss: loss of the last step.
    """

    seconds: float
    tokens: int
    slots: int
    sentences: int
    squares: int
    loss: float


class Contender(Protocol):
    """A training loop to measure."""

    name: str
    compile_seconds: float

    def warm(self) -> None:
        """Run a step of the largest size: contenders share malloc and move each other's memory."""

    def run(self, turn: int, turns: int, steps: int, done: Callable[[], object]) -> Slice:
        """Train `steps` steps, part `turn` of `turns` of an epoch; call `done` after each."""
