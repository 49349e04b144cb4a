"""The forward pass by ONNX Runtime, on the CPU: rows of any shape, nothing to compile."""

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

PACKAGE = "onnxruntime"
INPUTS = ("input_ids", "segment_ids", "position_ids")
TOKENS = 1024  # of a batch: what a CPU's cache holds
ERRORS_ONLY = 3
# Fusions whose operators take longer than what they stand for: SkipLayerNormalization five times as
# long as a sum and a norm, BiasGelu twice, Gemm by the copies it makes of its bias.
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
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def require() -> None:
    """Refuse to go on without ONNX Runtime.

    Raises:
      ValueError: says how to get it.
    """
    if not is_installed():
        raise ValueError(
            "ONNX Runtime is not installed: pip install 'flaxner[onnxruntime]', or engine='jax'"
        )


def open_session(program: Path) -> Any:
    """A graph of ours in ONNX Runtime, on all processors of this process.

    Raises:
      ValueError: the file is none that it loads.
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
    except Exception as error:  # of many kinds, with C++ behind them
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{program} is no graph that ONNX Runtime loads: {first}") from error


class OnnxEngine:
    """A graph of packed rows in ONNX Runtime; safe to use from many threads.

    Args:
      program: file of the graph; its weights lie beside it.
      labels: width of the logits.

    Raises:
      ValueError: ONNX Runtime is not installed, or the file is no graph of a token classifier.
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
        """Segments in rows as long as they need."""
        return fitted_batches(input_ids, starts, tokens=TOKENS)

    def start(self, batches: Iterator[PackedBatch]) -> list[tuple[PackedBatch, Callable[[], Any]]]:
        """Compute one batch at once, several on a thread while the caller goes on."""
        every = list(batches)
        if len(every) == 1:
            logits_BLC = self._run(every[0])
            return [(every[0], lambda: logits_BLC)]
        return [(batch, self._pool.submit(self._run, batch).result) for batch in every]

    def warmup(self, limit: int) -> None:
        """One short row: the first run makes room for its arrays."""
        zeros = np.zeros((1, 8), np.int32)
        self._session.run(None, dict.fromkeys(INPUTS, zeros))

    def _run(self, batch: PackedBatch) -> np.ndarray:
        feed = dict(zip(INPUTS, batch.inputs, strict=True))
        return self._session.run(None, feed)[0]


def _check(session: Any, program: Path, labels: int) -> None:
    """Refuse a graph that takes or gives other arrays than a token classifier of packed rows.

    Raises:
      ValueError: names the file.
    """
    given = [(item.name, item.type, len(item.shape)) for item in session.get_inputs()]
    wanted = [(name, "tensor(int32)", 2) for name in INPUTS]
    results = [(item.type, len(item.shape), item.shape[-1]) for item in session.get_outputs()]
    if sorted(given) != sorted(wanted) or results != [("tensor(float)", 3, labels)]:
        raise ValueError(f"{program} takes or gives other arrays than a classifier")
