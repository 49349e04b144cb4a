"""Files that exist completely or not at all, and names that are swapped in one step."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PART = ".flaxner-part"  # suffix of a file that is being written


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a path in an OSError that names no file, as one about a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically.

    A symbolic link stays one: the file it points to is written.
    """
    real = Path(os.path.realpath(path))
    make_folder(real.parent)
    with (
        naming(path),
        tempfile.NamedTemporaryFile(
            "wb", dir=real.parent, prefix=f".{real.name}.", suffix=PART, delete=False
        ) as file,
    ):
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o666 & ~_umask())
            os.replace(file.name, real)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(file.name)
            raise


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file atomically."""
    write_text(path, json_text(value))


def json_text(value: Mapping[str, Any]) -> str:
    """Return the content of a JSON file."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def make_folder(path: str | Path) -> None:
    """Create a folder and its parents; for a symbolic link, the folder that it points to."""
    os.makedirs(os.path.realpath(path), exist_ok=True)


def free_name(path: Path) -> Path:
    """Return the first of PATH-1, PATH-2, PATH-3 ... that is free."""
    names = (path.with_name(f"{path.name}-{number}") for number in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))


def sweep_parts(folder: Path) -> None:
    """Delete half-written files that a killed process left; no other process may be writing."""
    for path in folder.glob(f".*{PART}"):
        with contextlib.suppress(OSError):
            path.unlink()


def exchange(one: Path, other: Path, spare: Path) -> None:
    """Swap two names: in one step if the file system supports it, else by way of `spare`."""
    if _exchanged(one, other):
        return
    os.rename(other, spare)
    os.rename(one, other)
    os.rename(spare, one)


def _exchanged(one: Path, other: Path) -> bool:
    """Try Linux's renameat2 with RENAME_EXCHANGE; return whether it worked."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return rename(here, os.fsencode(one), here, os.fsencode(other), swap) == 0


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
