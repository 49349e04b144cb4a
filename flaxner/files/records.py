"""What flaxner wrote into a folder: a record with sizes and digests, kept in the folder itself."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from flaxner.files import manifest
from flaxner.files.atomic import free_name, sweep_parts, write_json, write_text

RECORD = ".flaxner.json"
Entries = dict[str, dict[str, Any]]


class Record(NamedTuple):
    """The record of a folder.

    Attributes:
      kind: what the folder is, in words with an article.
      files: name with slashes -> size and SHA-256 of each file that flaxner wrote.
    """

    kind: str
    files: Entries


def read_record(folder: Path) -> Record | None:
    """Read the record of a folder; None if it is absent or unreadable."""
    try:
        content = json.loads((folder / RECORD).read_text("utf-8"))
        files, kind = content["files"], content["kind"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    if not (isinstance(kind, str) and isinstance(files, dict)):
        return None
    sound = {
        name: dict(entry)
        for name, entry in files.items()
        if is_inside(name) and isinstance(entry, Mapping)
    }
    return Record(kind, sound)


def write_record(folder: Path, record: Record) -> None:
    """Write the record of a folder."""
    write_json(folder / RECORD, {"written_by": "flaxner", **record._asdict()})


def add_to_record(folder: Path, kind: str, names: Iterable[str]) -> None:
    """Record files as they are now, or that they are gone; the rest of the record stays."""
    known = read_record(folder)
    files: Entries = dict(known.files) if known is not None else {}
    for name in names:
        files.pop(name, None)
        if (folder / name).is_file():
            files[name] = manifest.entry(folder / name)
    write_record(folder, Record(kind, files))


def is_ours(folder: Path, name: str, record: Record | None) -> bool:
    """Whether flaxner wrote the file and nobody has changed it since."""
    if record is None or name not in record.files or not is_plain(folder, name):
        return False
    return manifest.is_same(folder / name, record.files[name])


def write_ours(path: Path, text: str, kind: str) -> None:
    """Write a file into a folder of ours and record it; see `make_way`."""
    make_way(path)
    write_text(path, text)
    add_to_record(path.parent, kind, [path.name])


def make_way(path: Path) -> None:
    """Rename a file in a folder of ours that flaxner did not write or that was changed since."""
    if os.path.lexists(path) and not is_ours(path.parent, path.name, read_record(path.parent)):
        rename_away(path)


def rename_away(path: Path) -> None:
    """Rename a file to an unused name in the same folder."""
    os.rename(path, free_name(path.with_name(f"{path.name}.before")))


def is_plain(folder: Path, name: str) -> bool:
    """Whether no parent of the file inside the folder is a symbolic link or a file."""
    above = [folder / part for part in PurePosixPath(name).parents if str(part) != "."]
    return not any(part.is_symlink() or (part.exists() and not part.is_dir()) for part in above)


def is_inside(name: Any) -> bool:
    """Whether a name is a relative path with slashes that stays inside its folder."""
    if not isinstance(name, str) or not name or "\\" in name or "\0" in name:
        return False
    parts = name.split("/")
    return not name.startswith("/") and not {"", ".", ".."} & set(parts)


def remove_ours(folder: Path) -> list[str]:
    """Delete unchanged files that records and checkpoint manifests in a folder or below list.

    Folders that are then empty are deleted too, including the folder itself.

    Returns:
      the files that stay, because flaxner did not write them or they were changed since.
    """
    for place, _, files in os.walk(folder, topdown=False):
        here = Path(place)
        sweep_parts(here)
        record = read_record(here) if RECORD in files else None
        if record is not None:
            for name in record.files:
                if is_ours(here, name, record):
                    (here / name).unlink()
            (here / RECORD).unlink()
        elif manifest.NAME in files and (sealed := manifest.sealed_files(here)) is not None:
            for name in filter(is_inside, sealed):
                if is_plain(here, name) and manifest.is_same(here / name, sealed[name]):
                    (here / name).unlink()
            (here / manifest.NAME).unlink()
    remove_empty(folder)
    return manifest.names_below(folder)


def remove_empty(folder: Path) -> None:
    """Delete the folder and the folders below it, as far as they are empty."""
    for place, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):  # something is in it, or it is a link
            os.rmdir(place)
