"""Segments -> logits, by an engine that computes packed rows: JAX or ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Protocol

import numpy as np

from flaxner.inference.rows import PackedBatch

Started = list[tuple[PackedBatch, Callable[[], Any]]]  # batches, and what waits for their logits


class Engine(Protocol):
    """What computes the logits of packed rows; safe to use from many threads."""

    @property
    def devices(self) -> Any:
        """Where it computes: a list of what has a `platform` and an `id`."""

    @property
    def traces(self) -> list[tuple[int, int]]:
        """One (rows, row length) per compilation."""

    @property
    def capacity(self) -> int:
        """Tokens of a batch that fills it."""

    def batches(
        self, input_ids: np.ndarray, starts: np.ndarray, limit: int
    ) -> Iterator[PackedBatch]:
        """Segments in the shapes that suit it."""

    def start(self, batches: Iterator[PackedBatch]) -> Started:
        """Begin to compute."""

    def warmup(self, limit: int) -> None:
        """Do now what the first batches of each shape would wait for."""


class Pending:
    """Logits on their way.

    Args:
      size: tokens of the flat input.
      num_labels: width of the logits.
      parts: what was started.
    """

    def __init__(self, size: int, num_labels: int, parts: Started) -> None:
        self._shape, self._parts = (size, num_labels), parts

    def result(self) -> np.ndarray:
        """Wait; logits of every position of the flat input, float32."""
        logits_TC = np.zeros(self._shape, np.float32)
        for batch, wait in self._parts:
            logits_TC[batch.places] = wait().reshape(-1, self._shape[1])[batch.cells]
        self._parts = []
        return logits_TC


class Predictor:
    """A forward pass; safe to use from many threads.

    Args:
      engine: what computes it.
      num_labels: width of the logits.
      limit: the longest segment.

    Attributes:
      engine: the same.

    Raises:
      RuntimeError: in a process that was forked from one that had a predictor.
    """

    used_by: ClassVar[int | None] = None  # the process that has one

    def __init__(self, engine: Engine, num_labels: int, limit: int) -> None:
        refuse_fork()
        Predictor.used_by = os.getpid()
        self.engine, self.limit, self.num_labels = engine, limit, num_labels

    @property
    def devices(self) -> Any:
        """Where it computes."""
        return self.engine.devices

    @property
    def traces(self) -> list[tuple[int, int]]:
        """One (rows, row length) per compilation."""
        return self.engine.traces

    def submit(self, input_ids: np.ndarray, starts: np.ndarray) -> Pending:
        """Hand segments, laid end to end, to the engine.

        Raises:
          RuntimeError: in a process that was forked from that of the predictor.
        """
        refuse_fork()
        if not len(input_ids):
            return Pending(0, self.num_labels, [])
        started = self.engine.start(self.engine.batches(input_ids, starts, self.limit))
        return Pending(len(input_ids), self.num_labels, started)

    def warmup(self) -> None:
        """Compile every shape now."""
        refuse_fork()
        self.engine.warmup(self.limit)


def refuse_fork() -> None:
    """The threads of the engines, and of tokenizers, do not live on in a fork, which would wait.

    Raises:
      RuntimeError: this process was forked from one that has a predictor.
    """
    if Predictor.used_by not in (None, os.getpid()):
        raise RuntimeError(
            "this process was forked from one that has a pipeline, and JAX does not compute in a "
            "fork: start workers with multiprocessing.get_context('spawn')"
        )
