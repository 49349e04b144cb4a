"""Bytes of a file, a pipe or a compressed file, bounded in time, memory and disk."""

from __future__ import annotations

import atexit
import bz2
import gzip
import lzma
import os
import shutil
import stat
import tempfile
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BYTES_AT_ONCE = 1 << 20
WRITER_WAIT = 10.0  # seconds for which a named pipe may have no writer
SPOOL_LIMIT = 1 << 32  # bytes; what comes through a pipe is kept on disk
# A compressed text is a few times smaller than it is, one that repeats itself much 50 times. A file
# that grows more than this was made to fill memory.
RATIO, RATIO_FROM = 200, 1 << 26
# How a compressed file begins -> its name.
MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
# Of others -> what to do with them.
UNREAD = (
    (b"PK\x03\x04", "a zip archive (or an office document): unpack it, and name the file in it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it, and name the file in it"),
    (b"Rar!\x1a\x07", "a rar archive: unpack it, and name the file in it"),
    (b"\x1f\x9d", "compressed with compress: unpack it with gzip -d"),
)


class Refused(Exception):
    """Why a file cannot be read, for a message that names it."""


def local_file(path: Path) -> Path:
    """A file that can be read more than once: the file itself, or what a pipe gave.

    Raises:
      Refused: a device, a pipe that nobody writes to or that does not end.
      OSError: not there, or not readable.
    """
    status = path.stat()
    key = (status.st_dev, status.st_ino)
    if stat.S_ISREG(status.st_mode):
        return path
    if stat.S_ISDIR(status.st_mode):
        raise Refused("it is a folder, not a file")
    if not stat.S_ISFIFO(status.st_mode):
        raise Refused("it is a device, not a file")
    if key not in _spooled:
        _spooled[key] = _spool(path)
    return _spooled[key]


_spooled: dict[tuple[int, int], Path] = {}


def _spool(path: Path) -> Path:
    """What comes through a pipe, as a file that is deleted when the program ends."""
    folder = Path(tempfile.mkdtemp(prefix="flaxner-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    target = folder / (path.name or "pipe")
    size = 0
    with os.fdopen(_open_pipe(path), "rb") as pipe, target.open("wb") as file:
        while chunk := pipe.read(BYTES_AT_ONCE):
            size += len(chunk)
            if size > SPOOL_LIMIT:
                raise Refused(f"more than {SPOOL_LIMIT >> 30} GiB came through this pipe")
            file.write(chunk)
    return target


def _open_pipe(path: Path) -> int:
    """Open a pipe; a named one waits until another process opens it for writing."""
    opened: list[int | OSError] = []

    def wait() -> None:
        try:
            opened.append(os.open(path, os.O_RDONLY))
        except OSError as error:
            opened.append(error)

    waiter = threading.Thread(target=wait, name="flaxner-pipe", daemon=True)
    waiter.start()
    waiter.join(WRITER_WAIT)
    if waiter.is_alive():
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))  # ends the wait of the thread
        raise Refused(f"it is a pipe, and for {WRITER_WAIT:.0f} seconds nothing wrote to it")
    (result,) = opened
    if isinstance(result, OSError):
        raise result
    return result


def read_bytes(path: Path) -> Iterator[bytes]:
    """The bytes of a file, 1 MiB at a time, decompressed if their beginning says so.

    Raises:
      Refused: no file, an archive, or one that grows as no text does.
      OSError, EOFError, ValueError: not there, not readable, or damaged.
    """
    path = local_file(path)
    with path.open("rb") as file:
        head = file.read(8)
    for magic, remedy in UNREAD:
        if head.startswith(magic):
            raise Refused(f"it is {remedy}")
    kind = next((name for magic, name in MAGIC if head.startswith(magic)), None)
    allowed = max(RATIO_FROM, RATIO * path.stat().st_size)
    total = 0
    try:
        with _decompressed(path, kind) as stream:
            while chunk := stream.read(BYTES_AT_ONCE):
                total += len(chunk)
                if kind is not None and total > allowed:
                    raise Refused(
                        f"it is {kind} of more than {RATIO} times its own size, as no text is; "
                        f"decompress it if it is meant to be so"
                    )
                yield chunk
    except (zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"the {kind} file is damaged: {error}") from error


def _decompressed(path: Path, kind: str | None) -> Any:
    if kind == "gzip":
        return gzip.open(path)
    if kind == "bzip2":
        return bz2.open(path)
    if kind == "xz":
        return lzma.open(path)
    if kind is None:
        return path.open("rb")
    import pyarrow as pa

    return pa.CompressedInputStream(pa.OSFile(str(path)), kind)
