"""The forward pass in JAX: a few fixed shapes, spread over the devices."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from flaxner.devices.compiler_options import compiler_options
from flaxner.devices.mesh import batch_sharding, kernels_over, make_mesh, place_tree, replicated
from flaxner.inference.rows import PACKED_LENGTH, ROW_LENGTHS, PackedBatch, make_batches

# Tokens of a full batch on one device; a larger one leaves a CPU's cache.
TOKENS_PER_DEVICE = {"cpu": 1024, "gpu": 32768, "tpu": 32768}

Params = Mapping[str, Any]
Forward = Callable[..., jax.Array]  # (params, input_ids, segment_ids, position_ids) -> logits


class JaxEngine:
    """A compiled forward pass on its devices; safe to use from many threads.

    Args:
      forward: (params, input_ids, segment_ids, position_ids) -> logits.
      params: path -> array.
      devices: where to compute; all devices if None.

    Attributes:
      devices: where it computes.
      traces: one (rows, row length) per compilation.
    """

    def __init__(
        self, forward: Forward, params: Params, devices: Sequence[jax.Device] | None = None
    ) -> None:
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
        """Tokens of a batch that fills the devices."""
        return self._tokens * len(self.devices)

    def batches(
        self, input_ids: np.ndarray, starts: np.ndarray, limit: int
    ) -> Iterator[PackedBatch]:
        """Segments in the shapes that are compiled."""
        return make_batches(
            input_ids,
            starts,
            limit=limit,
            devices=len(self.devices),
            tokens_per_device=self._tokens,
        )

    def start(self, batches: Iterator[PackedBatch]) -> list[tuple[PackedBatch, Callable[[], Any]]]:
        """Hand batches to the devices; each with what waits for its logits_BLC."""
        started: list[tuple[PackedBatch, Callable[[], Any]]] = []
        for batch in batches:
            with self._turn:
                logits_BLC = self._forward(self._params, *batch.inputs)
            started.append((batch, functools.partial(np.asarray, logits_BLC)))
        return started

    def warmup(self, limit: int) -> None:
        """Compile every shape now."""
        for row_length in [n for n in ROW_LENGTHS if n < limit] + [limit]:
            full = max(1, self._tokens // row_length)
            for rows in {1, full if row_length >= min(PACKED_LENGTH, limit) else 1}:
                zeros = np.zeros((rows * len(self.devices), row_length), np.int32)
                self._forward(self._params, zeros, zeros, zeros).block_until_ready()


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
        devices = jax.devices({"cuda": "gpu"}.get(platform, platform))
        return [devices[int(number)]] if number else devices
    except (IndexError, RuntimeError, ValueError) as error:
        known = ", ".join(str(d) for d in jax.devices())
        raise ValueError(f"there is no device {device!r}; there are {known}") from error
