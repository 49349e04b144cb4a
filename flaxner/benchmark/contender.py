"""What a contender of the training benchmark is, and what it reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol


@dataclasses.dataclass(frozen=True)
class Slice:
    """What a stretch of training took.

    Attributes:
      seconds: wall-clock time, the last step finished.
      tokens: real tokens.
      slots: tokens computed on, padding included.
      sentences: sentences seen.
      squares: sum of the squared segment lengths, for the FLOPs of attention.
      loss: of the last step.
    """

    seconds: float
    tokens: int
    slots: int
    sentences: int
    squares: int
    loss: float


class Contender(Protocol):
    """A way to train."""

    name: str
    compile_seconds: float

    def warm(self) -> None:
        """A step of the largest size: contenders share malloc, each moves the other's memory."""

    def run(self, turn: int, turns: int, steps: int, done: Callable[[], object]) -> Slice:
        """Train `steps` steps: the share `turn` of `turns` of an epoch; `done` hears of each."""
