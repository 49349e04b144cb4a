"""Sizes and digests of files; a checkpoint's manifest, which is written last and checked first."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxner.files.atomic import write_json

NAME = "manifest.json"


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def entry(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file."""
    return {"bytes": path.stat().st_size, "sha256": file_digest(path)}


def listing(folder: Path) -> dict[str, dict[str, Any]]:
    """Return name -> size and SHA-256 of every file below a folder, sorted by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): entry(path) for path in files}


def names_below(folder: Path) -> list[str]:
    """Names of the files and links in a folder and below, sorted."""
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def is_same(path: Path, expected: Mapping[str, Any]) -> bool:
    """Whether a regular file has the size and digest of an entry."""
    try:
        if os.path.islink(path) or not path.is_file():
            return False
        return path.stat().st_size == expected["bytes"] and entry(path) == dict(expected)
    except (OSError, KeyError, TypeError):
        return False


def seal(folder: Path) -> None:
    """List every file of `folder` in its manifest, which is written atomically."""
    files = listing(folder)
    text = json.dumps(files, sort_keys=True)
    write_json(folder / NAME, {"sha256": hashlib.sha256(text.encode()).hexdigest(), "files": files})


def is_sealed(folder: Path) -> bool:
    """Whether the folder was finished; `damage` checks that it is unchanged."""
    return (folder / NAME).is_file()


def sealed_files(folder: Path) -> dict[str, dict[str, Any]] | None:
    """Return what the manifest lists; None if it is damaged."""
    try:
        content = json.loads((folder / NAME).read_text("utf-8"))
        files = content["files"]
        text = json.dumps(files, sort_keys=True)
        whole = content["sha256"] == hashlib.sha256(text.encode()).hexdigest()
        return files if whole and isinstance(files, dict) else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # no UTF-8 or JSON, too deep
        return None


def strangers(folder: Path) -> list[str]:
    """Files in a sealed folder that its manifest does not list."""
    known = {*(sealed_files(folder) or ()), NAME}
    return [name for name in names_below(folder) if name not in known]


def damage(folder: Path) -> str | None:
    """Describe what became of a file in the folder's manifest; None if all are as written."""
    files = sealed_files(folder)
    if files is None:
        return f"{NAME} is damaged"
    for name, expected in files.items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != expected["bytes"]:
                return f"{name} has {size:,} bytes instead of {expected['bytes']:,}"
            if entry(path)["sha256"] != expected["sha256"]:
                return f"the content of {name} is not what was written"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    return None
