"""Read the bytes of a file, pipe or compressed file within bounds of time, memory and disk."""

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
WRITER_WAIT = 10.0  # seconds to wait for a named pipe to get a writer
SPOOL_LIMIT = 1 << 32  # bytes that are accepted from a pipe and stored on disk
# Text compresses a few times, very repetitive text 50 times. A file that expands more than this was
# made to fill memory.
RATIO, RATIO_FROM = 200, 1 << 26
# First bytes of a compressed file, and the name of its format.
MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
)
# First bytes of files that are not read, and what to do with them.
UNREAD = (
    (b"PK\x03\x04", "a zip archive (unpack it) or an Excel sheet (save it as CSV UTF-8)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it and give the file inside"),
    (b"Rar!\x1a\x07", "a rar archive: unpack it and give the file inside"),
    (b"\x1f\x9d", "compressed with compress: unpack it with gzip -d"),
)


class Refused(Exception):
    """Raised when a file cannot be read; the caller's message names the file."""


def local_file(path: Path) -> Path:
    """Return a file that can be read more than once: the file itself, or a copy of a pipe's data.

    Raises:
      Refused: the path is a folder, a device, or a pipe that gets no writer or does not end.
      OSError: the file does not exist or is not readable.
    """
    status = path.stat()
    key = (status.st_dev, status.st_ino)
    if stat.S_ISREG(status.st_mode):
        return path
    if stat.S_ISDIR(status.st_mode):
        raise Refused(
            "it is a folder, not a file: name a file in it (--train-file may be repeated), or read "
            "a folder of `datasets` with --dataset"
        )
    if not stat.S_ISFIFO(status.st_mode):
        raise Refused("it is a device, not a file")
    if key not in _spooled:
        _spooled[key] = _spool(path)
    return _spooled[key]


_spooled: dict[tuple[int, int], Path] = {}


def _spool(path: Path) -> Path:
    """Copy a pipe's data to a file that is deleted when the program ends."""
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
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))  # ends the thread's wait
        raise Refused(f"it is a pipe that nothing wrote to for {WRITER_WAIT:.0f} seconds")
    (result,) = opened
    if isinstance(result, OSError):
        raise result
    return result


def read_bytes(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, 1 MiB at a time, decompressed if its first bytes require it.

    Raises:
      Refused: not a file, an archive, or a file that expands more than text does.
      OSError, EOFError, ValueError: the file does not exist, is not readable, or is damaged.
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
                        f"its {kind} data expand to more than {RATIO} times their size, which text "
                        f"does not; if that is intended, decompress it first"
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
