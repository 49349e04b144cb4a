"""Driving the steps of runs: one alone, or several in lockstep."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Protocol, TypeVar

from flaxner.runs.state import TrainState
from flaxner.training.feed import PlacedBatch
from flaxner.training.step import Batch, Metrics
from flaxner.training.stopping import RunStopped

T = TypeVar("T")

# A generator that yields the batch of its next step and is sent the step's metrics; after the last
# step it yields None once, is sent an empty dict, and returns its result.
Stepwise = Generator[PlacedBatch | None, Metrics, T]


class Held:
    """Holds the state of a run being trained."""

    state: TrainState

    def release(self) -> None:
        """Free the memory of the state."""
        del self.state


class Together(Protocol):
    """Holds the states of several runs and takes a step of all of them together."""

    def train(self, batches: Sequence[Batch], active: Sequence[bool]) -> Sequence[Metrics]:
        """Take a step of the active runs, leave the others unchanged; return each one's metrics."""


def run_alone(
    work: Stepwise[T],
    held: Held,
    step: Callable[[TrainState, Batch], tuple[TrainState, Metrics]],
) -> T:
    """Take every step of a run and return its result."""
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
    """Take the steps of several runs together, those that are behind first; return their results.

    No run finishes before all have taken their last step, so that a resumed run finds the others as
    they were.

    Args:
      works: one generator per run, in the order of the stack.
      stack: takes the steps.

    Raises:
      RunStopped: a stop was requested; every run has saved its state.
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
        except RunStopped as error:  # the others see the same request after their next step
            stopped.append(error)

    try:
        for index in range(len(works)):
            advance(index, None)
        while training := {i: placed for i, placed in waiting.items() if placed is not None}:
            step = min(placed.step for placed in training.values())
            now = sorted(i for i, placed in training.items() if placed.step == step)
            # A run without a batch for this step is given another's, and stays unchanged.
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
