"""Weights in one file, or in shards with an index: the same for every format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from flaxner.files import read_json
from flaxner.wording import few

if TYPE_CHECKING:
    import numpy as np

INDEX = ".index.json"  # what the name of an index adds to that of the single file


def read_weights(
    folder: Path, name: str, read: Callable[[Path], dict[str, np.ndarray]]
) -> dict[str, np.ndarray] | None:
    """Read the single file, else the shards of its index; None if a folder has neither.

    If there are both, the single file is read, as in transformers, whose `save_pretrained` leaves
    the index of older shards behind.

    Args:
      folder: of the model.
      name: of the single file.
      read: reads name -> array from a file.

    Raises:
      ValueError: a file is damaged or missing, or a tensor is in two of them.
    """
    if (folder / name).is_file():
        return read(folder / name)
    index = folder / f"{name}{INDEX}"
    if not index.is_file():
        return None
    return _joined(((shard, read(folder / shard)) for shard in _shard_names(index)), str(folder))


def _shard_names(path: Path) -> list[str]:
    """Return the files listed in a shard index, each once, after checking that they exist.

    Raises:
      ValueError: not an index, a file outside its folder, or a missing file.
    """
    table = read_json(path).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise ValueError(f"{path} must have a weight_map, an object that maps tensors to files")
    for name in table.values():
        plain = isinstance(name, str) and name not in ("", ".", "..")
        if not plain or PurePath(name).name != name or "\\" in name or "\0" in name:
            raise ValueError(f"{path} must name files in its own folder: got {name!r}")
    shards = sorted(set(table.values()))
    absent = [shard for shard in shards if not (path.parent / shard).is_file()]
    if absent:
        raise ValueError(f"{path.parent} lacks {absent}, listed in {path.name}")
    return shards


def _joined(shards: Iterable[tuple[str, Mapping[str, Any]]], source: str) -> dict[str, Any]:
    """Merge the tensors of several files.

    Raises:
      ValueError: two files have a tensor of the same name.
    """
    table: dict[str, Any] = {}
    for file, tensors in shards:
        twice = sorted(set(table) & set(tensors))
        if twice:
            raise ValueError(f"{source} holds {few(twice)} twice, the second time in {file}")
        table.update(tensors)
    return table
