"""The forward pass in JAX: a few static shapes, sharded over the devices."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from flaxner.devices.compiler_options import compiler_options
from flaxner.devices.mesh import batch_sharding, kernels_over, make_mesh, place_tree, replicated
from flaxner.inference.rows import (
    PACKED_LENGTH,
    ROW_LENGTHS,
    PackedBatch,
    batch_sizes,
    make_batches,
)

# Tokens per device in a full batch; a larger one would not fit a CPU's cache.
TOKENS_PER_DEVICE = {"cpu": 1024, "gpu": 32768, "tpu": 32768}

Params = Mapping[str, Any]
Forward = Callable[..., jax.Array]  # (params, input_ids, segment_ids, position_ids) -> logits


class JaxEngine:
    """A compiled forward pass on its devices; thread-safe.

    Args:
      forward: (params, input_ids, segment_ids, position_ids) -> logits.
      params: path -> array.
      devices: devices to use; all if None.

    Attributes:
      devices: the devices in use.
      traces: one (rows, row length) per compilation.
    """

    def __init__(
        self, forward: Forward, params: Params, devices: Sequence[jax.Device] | None = None
    ) -> None:
        self.traces: list[tuple[int, int]] = []
        # Programs from several threads must reach all devices in the same order, or they deadlock.
        self._turn = threading.Lock()
        mesh = make_mesh(devices=devices)
        self.devices: tuple[jax.Device, ...] = tuple(mesh.devices.flat)
        platform = mesh.devices.flat[0].platform
        self._tokens = TOKENS_PER_DEVICE.get(platform, TOKENS_PER_DEVICE["gpu"])
        whole, spread = replicated(mesh), batch_sharding(mesh)
        self._spread = spread
        self._params = place_tree(params, jax.tree.map(lambda _: whole, dict(params)))

        def counted(params: Params, *inputs: jax.Array) -> jax.Array:
            self.traces.append((inputs[0].shape[0], inputs[0].shape[1]))
            with kernels_over(mesh):
                return forward(params, *inputs)

        self._forward = jax.jit(
            counted,
            in_shardings=(whole, spread, spread, spread),
            out_shardings=spread,
            compiler_options=compiler_options(mesh),
        )

    @property
    def capacity(self) -> int:
        """Number of tokens in a batch that fills the devices."""
        return self._tokens * len(self.devices)

    def batches(
        self, input_ids: np.ndarray, starts: np.ndarray, limit: int
    ) -> Iterator[PackedBatch]:
        """Pack segments into the compiled shapes."""
        return make_batches(
            input_ids,
            starts,
            limit=limit,
            devices=len(self.devices),
            tokens_per_device=self._tokens,
        )

    def start(self, batches: Iterator[PackedBatch]) -> list[tuple[PackedBatch, Callable[[], Any]]]:
        """Dispatch batches to the devices; return each with a call that awaits its logits_BLC."""
        started: list[tuple[PackedBatch, Callable[[], Any]]] = []
        for batch in batches:
            logits_BLC = self._start(*batch.inputs)
            started.append((batch, functools.partial(np.asarray, logits_BLC)))
        return started

    def warmup(self, limit: int) -> None:
        """Compile all shapes now."""
        for row_length in [n for n in ROW_LENGTHS if n < limit] + [limit]:
            shared = row_length >= min(PACKED_LENGTH, limit)
            for rows in batch_sizes(self._tokens, row_length) if shared else (1,):
                zeros = np.zeros((rows * len(self.devices), row_length), np.int32)
                self._start(zeros, zeros, zeros).block_until_ready()

    def _start(self, *inputs: Any) -> jax.Array:
        if jax.process_count() > 1:  # there, a jitted function does not distribute NumPy arrays
            inputs = jax.device_put(inputs, self._spread)
        with self._turn:
            return self._forward(self._params, *inputs)


def find_devices(device: Any) -> list[jax.Device]:
    """Return the devices of this process that a caller means; all if None.

    Args:
      device: "cpu", "gpu", "cuda" or "tpu", a single one such as "cuda:0", a JAX device, its
        number (a negative one: the CPU, as in `transformers`), or None.

    Raises:
      ValueError: there is no such device.
    """
    if device is None:
        return jax.local_devices()
    if isinstance(device, jax.Device):
        return [device]
    if device == "cpu" or (isinstance(device, int) and device < 0):
        return jax.local_devices(backend="cpu")[:1]
    try:
        if isinstance(device, int) and not isinstance(device, bool):
            return [jax.local_devices()[device]]
        platform, _, number = str(device).partition(":")
        devices = jax.local_devices(backend={"cuda": "gpu"}.get(platform, platform))
        if number.startswith("-"):
            raise ValueError("a negative number")
        return [devices[int(number)]] if number else devices
    except (IndexError, RuntimeError, ValueError) as error:
        known = ", ".join(str(d) for d in jax.local_devices())
        raise ValueError(f"unknown device {device!r}; choose from: {known}") from error
