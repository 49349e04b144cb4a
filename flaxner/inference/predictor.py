"""Computes logits of segments on an engine for packed rows: JAX or ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Protocol

import numpy as np

from flaxner.inference.rows import PackedBatch

Started = list[tuple[PackedBatch, Callable[[], Any]]]  # batches, and calls that await their logits


class Engine(Protocol):
    """Computes the logits of packed rows; thread-safe."""

    @property
    def devices(self) -> Any:
        """The devices in use, each with a `platform` and an `id`."""

    @property
    def traces(self) -> list[tuple[int, int]]:
        """One (rows, row length) per compilation."""

    @property
    def capacity(self) -> int:
        """Number of tokens in a batch that fills the devices."""

    def batches(
        self, input_ids: np.ndarray, starts: np.ndarray, limit: int
    ) -> Iterator[PackedBatch]:
        """Pack segments into rows of suitable shapes."""

    def start(self, batches: Iterator[PackedBatch]) -> Started:
        """Start computing."""

    def warmup(self, limit: int) -> None:
        """Do now what would delay the first batch of each shape."""


class Pending:
    """Logits that are being computed.

    Args:
      size: number of tokens in the flat input.
      num_labels: width of the logits.
      parts: the started batches.
    """

    def __init__(self, size: int, num_labels: int, parts: Started) -> None:
        self._shape, self._parts = (size, num_labels), parts

    def result(self) -> np.ndarray:
        """Wait, and return the logits of every position of the flat input, float32."""
        logits_TC = np.zeros(self._shape, np.float32)
        for batch, wait in self._parts:
            logits_TC[batch.places] = wait().reshape(-1, self._shape[1])[batch.cells]
        self._parts = []
        return logits_TC


class Predictor:
    """A model's forward pass; thread-safe.

    Args:
      engine: computes the logits.
      num_labels: width of the logits.
      limit: length of the longest segment, in tokens.

    Attributes:
      engine: the engine.

    Raises:
      RuntimeError: this process was forked from one that had a predictor.
    """

    used_by: ClassVar[int | None] = None  # id of the process that has one

    def __init__(self, engine: Engine, num_labels: int, limit: int) -> None:
        refuse_fork()
        Predictor.used_by = os.getpid()
        self.engine, self.limit, self.num_labels = engine, limit, num_labels

    @property
    def devices(self) -> Any:
        """The devices in use."""
        return self.engine.devices

    @property
    def traces(self) -> list[tuple[int, int]]:
        """One (rows, row length) per compilation."""
        return self.engine.traces

    def submit(self, input_ids: np.ndarray, starts: np.ndarray) -> Pending:
        """Hand concatenated segments to the engine.

        Raises:
          RuntimeError: this process was forked from that of the predictor.
        """
        refuse_fork()
        if not len(input_ids):
            return Pending(0, self.num_labels, [])
        started = self.engine.start(self.engine.batches(input_ids, starts, self.limit))
        return Pending(len(input_ids), self.num_labels, started)

    def warmup(self) -> None:
        """Compile all shapes now."""
        refuse_fork()
        self.engine.warmup(self.limit)


def refuse_fork() -> None:
    """Refuse to work in a fork, which would hang: engine and tokenizer threads do not survive it.

    Raises:
      RuntimeError: this process was forked from one that has a predictor.
    """
    if Predictor.used_by not in (None, os.getpid()):
        raise RuntimeError(
            "this process was forked from one that has a pipeline, and JAX does not work in a "
            "fork: start workers with multiprocessing.get_context('spawn')"
        )
