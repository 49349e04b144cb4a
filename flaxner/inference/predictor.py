"""Segments -> logits: packed into a few fixed shapes, spread over the devices."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from flaxner.data.packing import plan_rows
from flaxner.devices.compiler_options import compiler_options
from flaxner.devices.mesh import batch_sharding, make_mesh, place_tree, replicated

ROW_LENGTHS = (32, 64, 128, 256, 512, 1024, 2048, 4096)  # and the longest the model takes
PACKED_LENGTH = 128  # rows that short segments are packed into
# Tokens of a full batch on one device; a larger one leaves a CPU's cache.
TOKENS_PER_DEVICE = {"cpu": 1024, "gpu": 32768, "tpu": 32768}

Params = Mapping[str, Any]
Forward = Callable[..., jax.Array]  # (params, input_ids, segment_ids, position_ids) -> logits


class PackedBatch(NamedTuple):
    """Packed rows, and where their logits belong.

    Attributes:
      inputs: input_ids, segment_ids, position_ids, (B, L) int32 each.
      places: positions of the flat input that the rows hold.
      cells: the cell of (B, L), counted flat, of each of them.
    """

    inputs: tuple[np.ndarray, np.ndarray, np.ndarray]
    places: np.ndarray
    cells: np.ndarray


def make_batches(
    input_ids: np.ndarray,
    starts: np.ndarray,
    *,
    limit: int,
    devices: int,
    tokens_per_device: int,
) -> Iterator[PackedBatch]:
    """Pack segments into rows of few lengths, and rows into batches of two sizes.

    Segments of up to PACKED_LENGTH tokens share rows; a longer one shares the shortest row
    that holds it with others of its kind. A request that fits one row of 32 or 64 gets that.
    """
    lengths = np.diff(starts)
    row_lengths = [n for n in ROW_LENGTHS if n < limit] + [limit]
    total = int(lengths.sum())
    floor = next((n for n in row_lengths if n >= min(total, PACKED_LENGTH)), limit)
    kinds = np.searchsorted(row_lengths, np.maximum(lengths, floor))
    for kind in np.unique(kinds):
        L = row_lengths[kind]
        members = np.flatnonzero(kinds == kind)
        rows = [[int(members[i]) for i in row] for row in plan_rows(lengths[members], L)]
        full = max(1, tokens_per_device // L)
        for size, group in _row_groups(rows, devices, full):
            yield _fill(input_ids, starts, group, (size, L))


def _row_groups(
    rows: list[list[int]], devices: int, full: int
) -> Iterator[tuple[int, list[list[int]]]]:
    """Rows in batches of `full` a device; a short rest in batches of one a device."""
    place = 0
    while place < len(rows):
        left = len(rows) - place
        size = devices * (1 if left <= devices * (full // 2) else full)
        yield size, rows[place : place + size]
        place += size


def _fill(
    input_ids: np.ndarray, starts: np.ndarray, rows: list[list[int]], shape: tuple[int, int]
) -> PackedBatch:
    segments = np.asarray([index for row in rows for index in row], np.int64)
    row_sizes = [len(row) for row in rows]
    lengths = starts[segments + 1] - starts[segments]
    firsts = np.concatenate([[0], np.cumsum(row_sizes)[:-1]])  # first segment of each row
    row_of = np.repeat(np.arange(len(rows)), row_sizes)
    before = np.cumsum(lengths) - lengths
    columns = before - before[firsts][row_of]
    numbers = np.arange(len(segments)) - firsts[row_of] + 1
    position = np.arange(lengths.sum()) - np.repeat(before, lengths)
    cells = np.repeat(row_of * shape[1] + columns, lengths) + position
    places = np.repeat(starts[segments], lengths) + position
    arrays = np.zeros((3, shape[0] * shape[1]), np.int32)
    arrays[0, cells] = input_ids[places]
    arrays[1, cells] = np.repeat(numbers, lengths)
    arrays[2, cells] = position
    ids, numbered, positions = arrays.reshape(3, *shape)
    return PackedBatch((ids, numbered, positions), places, cells)


class Pending:
    """Logits on their way."""

    def __init__(self, size: int, num_labels: int) -> None:
        self._shape = (size, num_labels)
        self._parts: list[tuple[PackedBatch, jax.Array]] = []

    def add(self, batch: PackedBatch, logits_BLC: jax.Array) -> None:
        """A batch that the devices work on."""
        self._parts.append((batch, logits_BLC))

    def result(self) -> np.ndarray:
        """Wait; logits of every position of the flat input, float32."""
        logits_TC = np.zeros(self._shape, np.float32)
        for batch, logits_BLC in self._parts:
            logits_TC[batch.places] = np.asarray(logits_BLC).reshape(-1, self._shape[1])[
                batch.cells
            ]
        self._parts = []
        return logits_TC


class Predictor:
    """A forward pass on its devices; safe to use from many threads.

    Args:
      forward: (params, input_ids, segment_ids, position_ids) -> logits.
      params: path -> array.
      num_labels: width of the logits.
      limit: the longest segment.
      devices: where to compute; all devices if None.

    Attributes:
      devices: where it computes.
      traces: one (rows, row length) per compilation.

    Raises:
      RuntimeError: in a process that was forked from one that had a predictor.
    """

    used_by: ClassVar[int | None] = None  # the process that has one

    def __init__(
        self,
        forward: Forward,
        params: Params,
        num_labels: int,
        limit: int,
        devices: Sequence[jax.Device] | None = None,
    ) -> None:
        refuse_fork()
        Predictor.used_by = os.getpid()
        self.limit, self.num_labels = limit, num_labels
        self.traces: list[tuple[int, int]] = []
        # Programs of several threads must reach all devices in one order, or they wait for each
        # other without end.
        self._turn = threading.Lock()
        mesh = make_mesh(devices=devices)
        self.devices: tuple[jax.Device, ...] = tuple(mesh.devices.flat)
        platform = mesh.devices.flat[0].platform
        self._tokens = TOKENS_PER_DEVICE.get(platform, TOKENS_PER_DEVICE["gpu"])
        whole, spread = replicated(mesh), batch_sharding(mesh)
        self._params = place_tree(params, jax.tree.map(lambda _: whole, dict(params)))

        def counted(params: Params, *inputs: jax.Array) -> jax.Array:
            self.traces.append((inputs[0].shape[0], inputs[0].shape[1]))
            return forward(params, *inputs)

        self._forward = jax.jit(
            counted,
            in_shardings=(whole, spread, spread, spread),
            out_shardings=spread,
            compiler_options=compiler_options(mesh),
        )

    def submit(self, input_ids: np.ndarray, starts: np.ndarray) -> Pending:
        """Hand segments, laid end to end, to the devices.

        Raises:
          RuntimeError: in a process that was forked from that of the predictor.
        """
        refuse_fork()
        pending = Pending(len(input_ids), self.num_labels)
        for batch in make_batches(
            input_ids,
            starts,
            limit=self.limit,
            devices=len(self.devices),
            tokens_per_device=self._tokens,
        ):
            with self._turn:
                logits_BLC = self._forward(self._params, *batch.inputs)
            pending.add(batch, logits_BLC)
        return pending

    def warmup(self) -> None:
        """Compile every shape now."""
        refuse_fork()
        for row_length in [n for n in ROW_LENGTHS if n < self.limit] + [self.limit]:
            full = max(1, self._tokens // row_length)
            for rows in {1, full if row_length >= min(PACKED_LENGTH, self.limit) else 1}:
                zeros = np.zeros((rows * len(self.devices), row_length), np.int32)
                self._forward(self._params, zeros, zeros, zeros).block_until_ready()


def refuse_fork() -> None:
    """The threads of JAX, and of tokenizers, do not live on in a fork, which would wait for them.

    Raises:
      RuntimeError: this process was forked from one that has a predictor.
    """
    if Predictor.used_by not in (None, os.getpid()):
        raise RuntimeError(
            "this process was forked from one that has a pipeline, and JAX does not compute in a "
            "fork: start workers with multiprocessing.get_context('spawn')"
        )


def find_devices(device: Any) -> list[jax.Device] | None:
    """The devices that a caller means, or None for all.

    Args:
      device: "cpu", "gpu", "cuda" or "tpu", one of those such as "cuda:0", a device, its number
        (-1: the CPU, as in `transformers`), or None.

    Raises:
      ValueError: there is no such device.
    """
    if device is None:
        return None
    if isinstance(device, jax.Device):
        return [device]
    if device in ("cpu", -1):
        return jax.devices("cpu")[:1]
    try:
        if isinstance(device, int):
            return [jax.devices()[device]]
        platform, _, number = str(device).partition(":")
        found = jax.devices({"cuda": "gpu"}.get(platform, platform))
        return [found[int(number)]] if number else found
    except (IndexError, RuntimeError, ValueError) as error:
        known = ", ".join(str(d) for d in jax.devices())
        raise ValueError(f"there is no device {device!r}; there are {known}") from error
