"""Training batches built ahead of time on a thread and placed on the devices."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator
from typing import Any, NamedTuple, Protocol

import jax

from flaxner.data.packing import Rows
from flaxner.devices.mesh import place_batch
from flaxner.devices.processes import Part, this_part
from flaxner.training.program import Program

AHEAD = 2  # batches


class Plan(Protocol):
    """The batches of a run: `TrainBatches`, or those of a seed that trains with others."""

    @property
    def shapes(self) -> tuple[int, ...]:
        """The row counts of all steps, ascending."""

    def at(self, step: int, part: Part, /) -> Rows:
        """Return the rows of a step that belong to `part`."""

    def tokens_at(self, step: int, /) -> int:
        """Return the number of real tokens in a step, over all parts."""

    def fill(self) -> float:
        """Return the fraction of real tokens in the rows of the first epoch."""


class PlacedBatch(NamedTuple):
    """The batch of one step, placed on the devices.

    Attributes:
      step: optimizer steps taken before it, from 0.
      arrays: inputs of the training step, int32, with rows sharded over all devices.
      tokens: real tokens in the batch, over all processes.
    """

    step: int
    arrays: dict[str, jax.Array]
    tokens: int


def feed(
    batches: Plan, program: Program, first: int, total: int
) -> Generator[PlacedBatch, None, None]:
    """Yield the batches of steps `first` to `total` - 1.

    Closing the generator stops the thread. An error in the thread is raised here.
    """
    ready: queue.Queue[Any] = queue.Queue(AHEAD)
    stop = threading.Event()

    def put(item: Any) -> None:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                return ready.put(item, timeout=0.1)

    def make() -> None:
        try:
            for step in range(first, total):
                if stop.is_set():
                    return
                arrays = program.arrays(batches.at(step, this_part()))
                placed = place_batch(arrays, program.mesh)
                put(PlacedBatch(step, placed, batches.tokens_at(step)))
            put(None)
        except BaseException as error:  # re-raised in the loop
            put(error)

    thread = threading.Thread(target=make, name="flaxner-batches", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
