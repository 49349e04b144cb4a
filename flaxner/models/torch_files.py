"""Reads `pytorch_model.bin`, which `torch.save` wrote, as data: nothing in it is ever run.

Both of its formats are read: a zip archive (since PyTorch 1.6), and pickles followed by arrays.
"""

from __future__ import annotations

import functools
import mmap
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from flaxner.models.pickles import Storage, Tensor, decoded

BIN = "pytorch_model.bin"
MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of the older format
DAMAGED = (
    *(ValueError, KeyError, IndexError, TypeError, AttributeError, EOFError, OverflowError),
    *(zipfile.BadZipFile, RuntimeError),  # the latter of encrypted files
)


def read_bin_file(path: Path) -> dict[str, np.ndarray]:
    """Read name -> array from one file of `torch.save`.

    Raises:
      ValueError: the file is damaged, or holds something else than a table of weights.
    """
    try:
        with path.open("rb") as file:
            if zipfile.is_zipfile(file):
                return _from_zip(file)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pickles:
                return _from_pickles(pickles)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    except DAMAGED as error:
        reason = (f"it lacks {error}" if isinstance(error, KeyError) else str(error))[:300]
        raise ValueError(
            f"{path} is not a table of weights that flaxner can read: {reason}; save model and "
            "tokenizer as safetensors with transformers (from_pretrained, then save_pretrained)"
        ) from error


def _from_zip(file: IO[bytes]) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        for info in members.values():
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise ValueError(f"{info.filename} is compressed or encrypted")
        if sum(info.file_size for info in members.values()) > os.fstat(file.fileno()).st_size:
            raise ValueError("its members overlap")
        big = "byteorder" in members and archive.read(members["byteorder"]).strip() == b"big"
        with archive.open(members["data.pkl"]) as table:
            tensors = _tensors(decoded(table, big_endian=big))
        return _filled(tensors, lambda storage: archive.read(members[f"data/{storage.key}"]))


def _from_pickles(file: Any) -> dict[str, np.ndarray]:
    """Read the older format: magic number, version, machine, table, keys, and then the storages.

    Args:
      file: mapped into memory, so that a damaged length cannot ask for more than there is.
    """
    if file[:2] == b"PK":
        raise ValueError("it is a zip archive without an end: the download may be incomplete")
    if file[:1] not in (b"\x80", b"L") or decoded(file) != MAGIC:
        raise ValueError("it was not written by torch.save")
    _version, machine = decoded(file), decoded(file)
    tensors = _tensors(decoded(file, big_endian=not machine["little_endian"]))
    order = "little" if machine["little_endian"] else "big"
    sizes = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    places: dict[str, int] = {}
    for key in decoded(file):
        if not isinstance(key, str) or key not in sizes:  # to hash a deep tuple can crash Python
            raise ValueError("nothing uses one of its storages, so that its size is unknown")
        places[key] = file.tell() + 8
        count = int.from_bytes(file.read(8), order)  # type: ignore[arg-type]
        end = places[key] + sizes[key].size * sizes[key].dtype.itemsize
        if end > len(file):
            raise ValueError("it ends too early: the download may be incomplete")
        if count != sizes[key].size:  # otherwise, storages could overlap
            raise ValueError(f"its storage {key} does not have {sizes[key].size:,} elements")
        file.seek(end)

    def read(storage: Storage) -> bytes:
        file.seek(places[storage.key])
        return file.read(storage.size * storage.dtype.itemsize)

    return _filled(tensors, read)


def _tensors(table: Any) -> dict[str, Tensor]:
    """Return the tensors of a decoded table."""
    if not isinstance(table, dict) or not table:
        raise ValueError("it holds no names and tensors")
    storages: dict[str, Storage] = {}
    for name, value in table.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name!r} is no tensor")
        key = value.storage.key
        if storages.setdefault(key, value.storage) != value.storage:  # each is read only once
            raise ValueError(f"its storage {key} has two sizes or types")
    return table


def _filled(
    tensors: Mapping[str, Tensor], read: Callable[[Storage], bytes]
) -> dict[str, np.ndarray]:
    """Read every tensor; those of one storage follow each other, so that it is read once."""
    cached = functools.lru_cache(maxsize=1)(lambda storage: storage.array(read(storage)))
    ordered = sorted(tensors.items(), key=lambda item: item[1].storage.key)
    arrays = {name: tensor.of(cached(tensor.storage)) for name, tensor in ordered}
    return {name: arrays[name] for name in tensors}
