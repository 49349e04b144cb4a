"""Who takes the steps of a run: it alone, or several in step with each other."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Protocol, TypeVar

from flaxner.runs.state import TrainState
from flaxner.training.feed import PlacedBatch
from flaxner.training.step import Batch, Metrics
from flaxner.training.stopping import RunStopped

T = TypeVar("T")

# Yields the batch of its next step and is sent the step's metrics; yields None once, after the
# last step, and is sent nothing; returns its result.
Stepwise = Generator[PlacedBatch | None, Metrics, T]


class Held:
    """The state of a run in training."""

    state: TrainState

    def release(self) -> None:
        """Give its memory back."""
        del self.state


class Together(Protocol):
    """What holds the states of several runs, and takes a step of them at once."""

    def train(self, batches: Sequence[Batch], active: Sequence[bool]) -> Sequence[Metrics]:
        """A step of those that are active; the states of the others stay. Metrics of each."""


def run_alone(
    work: Stepwise[T],
    held: Held,
    step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]],
) -> T:
    """Take every step of a run; its result."""
    try:
        placed = next(work)
        while True:
            metrics: Metrics = {}
            if placed is not None:
                held.state, metrics = step(held.state, placed.arrays)
            placed = work.send(metrics)
    except StopIteration as end:
        return end.value
    finally:
        work.close()


def run_together(works: Sequence[Stepwise[T]], stack: Together) -> list[T]:
    """Take the steps of several runs at once, those that are behind first; their results.

    None goes on to its end before all have taken their last step: a run that is continued finds
    the others as they were.

    Args:
      works: one run each, in the order of the stack.
      stack: takes the steps.

    Raises:
      RunStopped: a stop was asked for; every run has kept its state.
    """
    waiting: dict[int, PlacedBatch | None] = {}
    results: dict[int, T] = {}
    stopped: list[RunStopped] = []

    def advance(index: int, metrics: Metrics | None) -> None:
        work = works[index]
        waiting.pop(index, None)
        try:
            waiting[index] = next(work) if metrics is None else work.send(metrics)
        except StopIteration as end:
            results[index] = end.value
        except RunStopped as error:  # the others see the same wish after their next step
            stopped.append(error)

    try:
        for index in range(len(works)):
            advance(index, None)
        while training := {i: placed for i, placed in waiting.items() if placed is not None}:
            step = min(placed.step for placed in training.values())
            now = sorted(i for i, placed in training.items() if placed.step == step)
            # One that has no batch now is given another's, and stays as it is.
            batches = [training[i if i in now else now[0]].arrays for i in range(len(works))]
            metrics = stack.train(batches, [i in now for i in range(len(works))])
            for index in now:
                advance(index, metrics[index])
        if stopped:
            raise stopped[0]
        for index in sorted(waiting):
            advance(index, {})
    finally:
        for work in works:
            work.close()
    if stopped:
        raise stopped[0]
    return [results[index] for index in range(len(works))]
