"""The forward pass on ONNX Runtime, on the CPU: rows of any shape, no compilation."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from flaxner.inference.onnx_runtime import onnxruntime
from flaxner.inference.rows import PackedBatch, fitted_batches
from flaxner.wording import first_line

PACKAGE = "onnxruntime"
INPUTS = ("input_ids", "segment_ids", "position_ids")
TOKENS = 1024  # tokens per batch: what a CPU's cache holds
ERRORS_ONLY = 3
# Fusions whose operators are slower than what they replace: SkipLayerNormalization takes five times
# as long as a sum and a norm, BiasGelu twice as long, and Gemm copies its bias.
SLOWER = ("SkipLayerNormFusion", "BiasGeluFusion", "MatMulAddFusion")


class HostDevice(NamedTuple):
    """The CPU, described as JAX describes devices."""

    platform: str = "cpu"
    id: int = 0

    def __str__(self) -> str:
        return f"{self.platform}:{self.id}"


def is_installed() -> bool:
    """Whether ONNX Runtime can be imported."""
    return importlib.util.find_spec(PACKAGE) is not None


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def require() -> None:
    """Require ONNX Runtime.

    Raises:
      ValueError: says how to install it.
    """
    if not is_installed():
        raise ValueError(
            "ONNX Runtime is not installed: pip install 'flaxner[onnxruntime]', or use engine='jax'"
        )


def open_session(program: Path) -> Any:
    """Open one of our graphs in ONNX Runtime, on all cores of this process.

    Raises:
      ValueError: ONNX Runtime cannot load the file.
    """
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.log_severity_level = ERRORS_ONLY
    options.intra_op_num_threads = cores()
    try:
        return runtime.InferenceSession(
            str(program),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=SLOWER,
        )
    except Exception as error:  # of many types, raised by C++
        raise ValueError(f"ONNX Runtime cannot load {program}: {first_line(error)}") from error


class OnnxEngine:
    """A graph for packed rows in ONNX Runtime; thread-safe.

    Args:
      program: file of the graph; its weights are in the same folder.
      labels: width of the logits.

    Raises:
      ValueError: ONNX Runtime is not installed, or the file is not a token classifier's graph.
    """

    traces: list[tuple[int, int]] = []  # noqa: RUF012  # nothing is ever compiled
    capacity = TOKENS

    def __init__(self, program: Path, labels: int) -> None:
        require()
        self.devices = (HostDevice(),)
        self._session = open_session(program)
        _check(self._session, program, labels)
        self._pool = ThreadPoolExecutor(1, "flaxner-onnx")

    def batches(
        self, input_ids: np.ndarray, starts: np.ndarray, limit: int
    ) -> Iterator[PackedBatch]:
        """Pack segments into rows of whatever length they need."""
        return fitted_batches(input_ids, starts, tokens=TOKENS)

    def start(self, batches: Iterator[PackedBatch]) -> list[tuple[PackedBatch, Callable[[], Any]]]:
        """Run a single batch right away, several on a thread while the caller continues."""
        every = list(batches)
        if len(every) == 1:
            logits_BLC = self._run(every[0])
            return [(every[0], lambda: logits_BLC)]
        return [(batch, self._pool.submit(self._run, batch).result) for batch in every]

    def warmup(self, limit: int) -> None:
        """Run one short row, since the first run allocates memory."""
        zeros = np.zeros((1, 8), np.int32)
        self._session.run(None, dict.fromkeys(INPUTS, zeros))

    def _run(self, batch: PackedBatch) -> np.ndarray:
        feed = dict(zip(INPUTS, batch.inputs, strict=True))
        return self._session.run(None, feed)[0]


def _check(session: Any, program: Path, labels: int) -> None:
    """Refuse a graph whose inputs or outputs are not those of a classifier of packed rows.

    Raises:
      ValueError: names the file.
    """
    given = [(item.name, item.type, len(item.shape)) for item in session.get_inputs()]
    wanted = [(name, "tensor(int32)", 2) for name in INPUTS]
    results = [(item.type, len(item.shape), item.shape[-1]) for item in session.get_outputs()]
    if sorted(given) != sorted(wanted) or results != [("tensor(float)", 3, labels)]:
        raise ValueError(f"{program} does not have a classifier's inputs and outputs")
