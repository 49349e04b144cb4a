"""Files that exist completely or not at all, and folders that are moved or swapped."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import json
import os
import shutil
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
    with naming(path):
        number, part = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.", suffix=PART)
        try:
            with open(number, "wb") as file:  # a bucket gets its content when it is closed
                file.write(data)
                file.flush()
                os.fsync(number)
            os.chmod(part, 0o666 & ~_umask())
            os.replace(part, real)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(part)
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


def move(source: Path, destination: Path, last: str = "") -> None:
    """Rename a file or folder; see `swaps`: in a mounted bucket, a folder is moved file by file.

    A move that was killed midway can be repeated.

    Args:
      source: the file or folder.
      destination: its new path.
      last: a file in the folder that is moved after all others, to say that they are there.
    """
    if source.is_symlink() or not source.is_dir() or swaps(source):
        os.rename(source, destination)
        return
    files = [path for path in source.rglob("*") if path.is_symlink() or not path.is_dir()]
    for path in sorted(files, key=lambda path: (path == source / last, path)):
        there = destination / path.relative_to(source)
        make_folder(there.parent)
        os.replace(path, there)
    shutil.rmtree(source, ignore_errors=True)


def swaps(place: Path) -> bool:
    """Whether two folders can be exchanged in one step; tried in this one, which is ours.

    Linux's own file systems do that. Others may rename a folder in one step as well, but mounted
    buckets do not: they refuse, or rename what is in it one by one, which may end halfway.
    """
    with tempfile.TemporaryDirectory(dir=place, prefix=".", suffix=PART) as folder:
        one, other = Path(folder) / "one", Path(folder) / "other"
        one.mkdir()
        other.mkdir()
        try:
            exchange(one, other)
        except OSError:
            return False
    return True


def exchange(one: Path, other: Path) -> None:
    """Swap two names in one step, with Linux's renameat2 and RENAME_EXCHANGE.

    Raises:
      OSError: the system cannot, see `swaps`.
    """
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError) as error:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(other)) from error
    here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if rename(here, os.fsencode(one), here, os.fsencode(other), swap) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
