"""Where arrays live: the mesh, rules from paths to shardings, placing batches on devices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

DATA, FSDP = "data", "fsdp"

# The first matching pattern wins. An axis is used only where it divides the dimension.
# With an fsdp axis of 1 (the default) every parameter is replicated.
PARAMETER_RULES: tuple[tuple[str, P], ...] = (
    (r"embedding$", P(FSDP, None)),
    (r"output/kernel$", P(None, FSDP)),
    (r"kernel$", P(FSDP, None)),
    (r".*", P()),
)


def make_mesh(fsdp: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Make one mesh over all devices of all processes, with axes (data, fsdp).

    Devices are ordered by slice, then by process: a process holds consecutive rows of a batch, and
    an fsdp group crosses as few hosts as possible.

    Raises:
      ValueError: the number of devices is not a multiple of `fsdp`.
    """
    devices = jax.devices() if devices is None else devices
    if len(devices) % fsdp:
        raise ValueError(f"fsdp must divide the number of devices: {fsdp} of {len(devices)}")
    ordered = sorted(devices, key=lambda d: (getattr(d, "slice_index", 0) or 0, d.process_index))
    return Mesh(np.asarray(ordered).reshape(-1, fsdp), (DATA, FSDP))


def kernels_over(mesh: Mesh) -> AbstractContextManager[Any]:
    """Return a context in which to trace a program: kernels, which are opaque to the compiler, are
    spread over this mesh, each device computing its own rows."""
    return jax.sharding.use_abstract_mesh(mesh.abstract_mesh)


def outside_meshes() -> AbstractContextManager[Any]:
    """Return a context without the mesh that a caller chose with `jax.set_mesh`, which would have
    to be the one of every array in a run."""
    return jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), ()))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Spread rows over every device, whatever axis it is on."""
    return NamedSharding(mesh, P((DATA, FSDP)))


def replicated(mesh: Mesh) -> NamedSharding:
    """Keep a copy on every device."""
    return NamedSharding(mesh, P())


def path_sharding(mesh: Mesh, path: str, shape: Sequence[int]) -> NamedSharding:
    """Return the sharding of the array at `path`, by PARAMETER_RULES."""
    spec = next(spec for pattern, spec in PARAMETER_RULES if re.search(pattern, path))
    if len(spec) != len(shape):
        return replicated(mesh)
    axes = [
        axis if axis is not None and size % mesh.shape[axis] == 0 else None
        for axis, size in zip(spec, shape, strict=True)
    ]
    return NamedSharding(mesh, P(*axes))


def tree_shardings(mesh: Mesh, tree: Any) -> Any:
    """Return shardings for a tree whose leaves have parameter paths as keys (params, moments)."""

    def choose(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        names = [str(getattr(part, "key", "")) for part in path]
        return path_sharding(mesh, names[-1] if names else "", leaf.shape)

    return jax.tree_util.tree_map_with_path(choose, tree)


def place_tree(tree: Any, shardings: Any) -> Any:
    """Place host arrays, which are the same in every process, on the devices."""

    def place(leaf: Any, sharding: NamedSharding) -> jax.Array:
        array = np.asarray(leaf)
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    return jax.tree.map(place, tree, shardings)


def to_host(tree: Mapping[str, jax.Array], mesh: Mesh) -> dict[str, np.ndarray]:
    """Return whole arrays in every process, gathered one by one to save device memory."""
    gather = jax.jit(lambda leaf: leaf, out_shardings=replicated(mesh))
    return {
        path: np.asarray(leaf if leaf.is_fully_addressable else gather(leaf))
        for path, leaf in tree.items()
    }


def place_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows (b, L) -> global arrays (B, L), rows spread over all devices."""
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, array)
        for name, array in batch.items()
    }
