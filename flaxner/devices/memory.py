"""How much memory a device has, and how much arrays take."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import Any

import jax

CGROUP = Path("/sys/fs/cgroup/memory.max")  # what a container may use


def memory_of(device: jax.Device) -> int | None:
    """Return the bytes that arrays may take on a device; None if unknown.

    The CPU devices of a process share the machine's memory.
    """
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    sizes: list[int] = []
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with contextlib.suppress(OSError, ValueError):
        sizes.append(int(CGROUP.read_text("ascii")))
    shared = sum(other.platform == "cpu" for other in jax.local_devices())
    return min(sizes) // max(shared, 1) if sizes else None


def bytes_on_a_device(tree: Any) -> int:
    """Bytes that arrays of these shapes and shardings take on each device, before padding."""
    return sum(
        leaf.dtype.itemsize * math.prod(leaf.sharding.shard_shape(leaf.shape))
        for leaf in jax.tree.leaves(tree)
    )
