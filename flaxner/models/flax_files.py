"""Converts weights named by `transformers`' former Flax classes to PyTorch's names and layouts.

Those classes wrote flax_model.msgpack, the same in shards with an index, or a safetensors file
whose metadata contains "flax". Flax's own tools wrap the tree in {"params": ...}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

MSGPACK = "flax_model.msgpack"
LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight"}
WRAPPER = "params."
BESIDE = ("opt_state", "step")  # what a train state holds besides its params


def read_msgpack(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of one msgpack file, under PyTorch names.

    Raises:
      ValueError: the file is damaged.
    """
    return named_for_torch(_flat(path), str(path))


def is_flax(names: Mapping[str, Any], written_by: str | None) -> bool:
    """Return whether the tensors of a safetensors file have Flax's names.

    Args:
      names: of the tensors.
      written_by: the "format" in the file's metadata, if any.
    """
    if written_by is not None:
        return written_by == "flax"
    return any(name.rpartition(".")[2] in ("kernel", "embedding") for name in names)


def named_for_torch(tensors: Mapping[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    """Convert Flax names and layouts to PyTorch's; of a train state, keep only the params.

    Raises:
      ValueError: weights both inside and outside "params", or the same weight twice.
    """
    wrapped = any(name.startswith(WRAPPER) for name in tensors)
    renamed: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        if wrapped and not name.startswith(WRAPPER):
            if name.split(".")[0] in BESIDE:
                continue
            raise ValueError(f"{source} holds weights both inside and outside 'params': {name}")
        parent, dot, leaf = name.removeprefix(WRAPPER).rpartition(".")
        if leaf == "kernel":
            tensor = np.ascontiguousarray(tensor.T)
        new = f"{parent}{dot}{LEAVES.get(leaf, leaf)}"
        if new in renamed:
            raise ValueError(f"{source} holds {new} twice, under two different Flax names")
        renamed[new] = tensor
    return renamed


def _flat(path: Path) -> dict[str, np.ndarray]:
    """Read a file's nested dict as a flat one with dotted names."""
    from flax.serialization import msgpack_restore

    try:
        tree = msgpack_restore(path.read_bytes())
    except Exception as error:  # msgpack raises a different class for every kind of damage
        raise ValueError(f"{path} is not a valid flax msgpack file: {error}") from error
    if not isinstance(tree, Mapping):
        raise ValueError(f"{path} must hold a tree of weights: got {type(tree).__name__}")
    return dict(_leaves("", tree))


def _leaves(name: str, node: Any) -> Iterator[tuple[str, np.ndarray]]:
    stack = [(name, node)]
    while stack:
        name, node = stack.pop()
        if isinstance(node, Mapping):
            stack += [(f"{name}.{key}" if name else str(key), child) for key, child in node.items()]
        else:
            yield name, np.asarray(node)
