"""Cached folders of derived files, under a digest of what they were made from."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flaxner.files.atomic import free_name, move
from flaxner.files.manifest import file_digest

SEAL = "kept.json"  # name -> size and SHA-256 of every file beside it
MAKING = ".making-"  # prefix of a folder that is being filled
ABANDONED = 86400  # seconds; no `fill` takes as long, so whoever began the folder was killed


def cache_folder(name: str) -> Path | None:
    """Return the folder that caches derived files of a kind; None if FLAXNER_CACHE is empty.

    It is next to the compiled programs: in the folder FLAXNER_CACHE, or in ~/.cache/flaxner.
    """
    named = os.environ.get("FLAXNER_CACHE")
    if named == "":
        return None
    return Path(os.path.expanduser(named or "~/.cache/flaxner")) / name


def key_of(facts: Iterable[Any], files: Iterable[Path] = ()) -> str:
    """Compute a digest of facts, and of the names and contents of files."""
    digest = hashlib.sha256(repr(tuple(facts)).encode())
    for path in files:
        digest.update(repr((path.name, file_digest(path))).encode())
    return digest.hexdigest()


def find(place: Path | None, key: str) -> Path | None:
    """Return the folder under a key if it is intact; if not, delete what we wrote into it."""
    if place is None or not _is_text(place):
        return None
    folder = place / key
    if not os.path.isdir(folder):  # False also where another user's cache may not be entered
        return None
    if _is_whole(folder):
        with contextlib.suppress(OSError):
            os.utime(folder)  # mark it as recently used
        return folder
    _discard(folder)
    return None


def keep(place: Path, key: str, fill: Callable[[Path], None], most: int) -> Path:
    """Create the folder under a key, completely or not at all.

    Args:
      place: the parent of all folders of a kind; when they grow too large, the least recently used
        are deleted.
      key: from `key_of`.
      fill: writes the files into the folder it is given.
      most: maximum bytes of all folders.

    Raises:
      OSError: it cannot be written.
    """
    if not _is_text(place):
        raise OSError(errno.EILSEQ, "its path is not UTF-8", str(place))
    place.mkdir(parents=True, exist_ok=True)
    _drop_abandoned(place)
    with tempfile.TemporaryDirectory(dir=place, prefix=MAKING) as made:
        draft = Path(made) / key
        draft.mkdir()
        fill(draft)
        files = {p.name: [p.stat().st_size, file_digest(p)] for p in sorted(draft.iterdir())}
        (draft / SEAL).write_text(json.dumps(files), "utf-8")
        if not _is_whole(place / key):  # else another process was faster
            with contextlib.suppress(OSError):
                move(draft, place / key, SEAL)
    _drop_oldest(place, most, key)
    return place / key


def _is_text(place: Path) -> bool:
    """Whether the path is UTF-8, as the libraries that read the cached files require."""
    try:
        str(place.absolute()).encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_whole(folder: Path) -> bool:
    try:
        files = json.loads((folder / SEAL).read_text("utf-8"))
        return all(
            _is_name(name)
            and (folder / name).stat().st_size == size
            and file_digest(folder / name) == digest
            for name, (size, digest) in files.items()
        )
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return False


def _drop_abandoned(place: Path) -> None:
    """Delete what killed processes left half made; others may be filling theirs right now."""
    for path in place.glob(f"{MAKING}*"):
        with contextlib.suppress(OSError):
            if path.lstat().st_mtime < time.time() - ABANDONED:
                shutil.rmtree(path)


def _drop_oldest(place: Path, most: int, newest: str) -> None:
    """Delete our folders, least recently used first, until at most `most` bytes are left."""
    ours = [
        p for p in place.iterdir() if re.fullmatch("[0-9a-f]{64}", p.name) and not p.is_symlink()
    ]
    with contextlib.suppress(OSError):
        ages = sorted((p.stat().st_mtime, p) for p in ours if (p / SEAL).is_file())
        sizes = {p: sum(f.stat().st_size for f in p.iterdir()) for _, p in ages}
        total = sum(sizes.values())
        for _, path in ages:
            if total > most and path.name != newest:
                _discard(path)
                total -= sizes[path]


def _discard(folder: Path) -> None:
    """Delete what we wrote into a folder; if it holds anything else, keep it under another name."""
    with contextlib.suppress(OSError):
        for name in (*_listed(folder), SEAL):
            (folder / name).unlink(missing_ok=True)
        try:
            folder.rmdir()
        except OSError:
            move(folder, free_name(folder.with_name(f"{folder.name}.left")))


def _listed(folder: Path) -> list[str]:
    """Return the names in a folder's seal that are of files in the folder itself."""
    try:
        return [name for name in json.loads((folder / SEAL).read_text("utf-8")) if _is_name(name)]
    except (OSError, ValueError, TypeError, RecursionError):
        return []


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and Path(name).name == name
