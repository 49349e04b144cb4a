"""Training batches made ahead of the step, on a thread, and put onto the devices."""

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
    """What the batches of a run are: `TrainBatches`, or those of a seed among others."""

    def at(self, step: int, part: Part, /) -> Rows:
        """The rows of a step that belong to `part`."""

    def tokens_at(self, step: int, /) -> int:
        """Real tokens of a step, over all parts."""

    def fill(self) -> float:
        """Share of real tokens in the rows of the first epoch."""


class PlacedBatch(NamedTuple):
    """What one step is given.

    Attributes:
      step: optimizer steps taken before it, from 0.
      arrays: what the training step takes, int32 over all devices, rows spread over them.
      tokens: real tokens in the batch, over all processes.
    """

    step: int
    arrays: dict[str, jax.Array]
    tokens: int


def feed(
    batches: Plan, program: Program, first: int, total: int
) -> Generator[PlacedBatch, None, None]:
    """Yield the batches of steps first to total - 1.

    Closing the generator ends the thread. An error in the thread is raised here.
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
        except BaseException as error:  # handed to the loop, which raises it
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
