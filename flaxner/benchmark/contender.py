"""The interface of a contender in the training benchmark, what it reports, and turns."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


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


def in_turns(making: Iterable[T], turns: int) -> Iterator[tuple[int, T]]:
    """Yield the number of a turn and the contender that has it, one contender after the other.

    Each is created when its first turn comes, so that a slow one does not delay those before it.
    """
    made = []
    for contender in making:
        made.append(contender)
        yield 0, contender
    for turn in range(1, turns):
        for contender in made:
            yield turn, contender
