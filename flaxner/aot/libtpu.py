"""Interface to libtpu: devices to compile for, its version, its out-of-memory errors."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax

from flaxner.aot.chips import GIB, Topology, known_topologies
from flaxner.wording import first_line


def require() -> None:
    """Require libtpu.

    Raises:
      ValueError: says how to install it.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise ValueError(
            "preflight needs the TPU compiler libtpu, which is not installed: "
            "pip install 'flaxner[preflight]'"
        )


def topology_devices(topology: Topology) -> list[Any]:
    """Return the devices to compile for.

    Raises:
      ValueError: libtpu is not installed, or does not know the topology.
    """
    require()
    if jax.default_backend() != "tpu":  # set these, or libtpu asks a metadata server for them
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
        os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    from jax.experimental import topologies

    options: dict[str, Any] = dict(topology.chip.options)
    if topology.slices > 1:
        options["num_slices"] = topology.slices
    shape = "x".join(map(str, topology.shape))
    try:
        described = topologies.get_topology_desc(
            f"{topology.chip.name}:{shape}",
            "tpu",
            chips_per_host_bounds=topology.host_bounds,
            **options,
        )
    except Exception as error:  # libtpu's errors have no type of their own
        reason = first_line(error)[:200]
        raise ValueError(
            f"libtpu rejects the topology {topology.name} ({reason}); {known_topologies()}"
        ) from error
    devices = list(described.devices)
    if len(devices) != topology.chips:
        raise ValueError(
            f"each chip must be one device: libtpu reports {len(devices)} devices for the "
            f"{topology.chips} chips of {topology.name}"
        )
    return devices


def version() -> str:
    """Return the version of the installed compiler; results of other versions are not reused."""
    from importlib import metadata

    try:
        return metadata.version("libtpu")
    except metadata.PackageNotFoundError:
        return "unknown"


def out_of_memory(error: Exception) -> tuple[int, int | None]:
    """Read (bytes requested, bytes available) from the compiler's error; re-raise other errors."""
    message = str(error)
    if "RESOURCE_EXHAUSTED" not in message or "emory" not in message:
        raise error
    units = {"K": 1024, "M": 1024**2, "G": GIB, "T": 1024 * GIB}
    sizes = [
        int(float(number) * units[unit])
        for number, unit in re.findall(r"\b(\d+(?:\.\d+)?)([KMGT])\b", message)
    ]
    return (sizes[0], sizes[1]) if len(sizes) > 1 else (sizes[0] if sizes else 0, None)


@contextmanager
def without_jax_cache() -> Iterator[None]:
    """Disable JAX's own cache, which cannot read back a program compiled without the chips."""
    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
