"""The list of files of a checkpoint with their sizes and digests: written last, checked first."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from flaxner.files import write_json

NAME = "manifest.json"


def seal(folder: Path) -> None:
    """List every file of `folder` in its manifest, which appears whole or not at all."""
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        files[name] = {"bytes": path.stat().st_size, "sha256": _digest(path)}
    text = json.dumps(files, sort_keys=True)
    write_json(folder / NAME, {"sha256": hashlib.sha256(text.encode()).hexdigest(), "files": files})


def is_sealed(folder: Path) -> bool:
    """Whether the folder was finished; `damage` says whether it still is what it was."""
    return (folder / NAME).is_file()


def damage(folder: Path) -> str | None:
    """What differs between a folder and its manifest, in words; None if nothing does."""
    try:
        content = json.loads((folder / NAME).read_text("utf-8"))
        files = content["files"]
        text = json.dumps(files, sort_keys=True)
        if content["sha256"] != hashlib.sha256(text.encode()).hexdigest():
            return f"{NAME} is damaged"
    except (OSError, ValueError, TypeError, KeyError):  # ValueError: no UTF-8 or no JSON
        return f"{NAME} is damaged"
    for name, expected in files.items():
        path = folder / name
        try:
            size = path.stat().st_size
            if size != expected["bytes"]:
                return f"{name} has {size:,} bytes instead of {expected['bytes']:,}"
            if _digest(path) != expected["sha256"]:
                return f"{name} has other content than was written"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    known = {*files, NAME}
    found = (p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    extra = sorted(set(found) - known)
    return f"{extra[0]} does not belong to it" if extra else None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
