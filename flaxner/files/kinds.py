"""What may happen to existing files where flaxner puts new ones."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from flaxner.files import manifest
from flaxner.files.atomic import PART
from flaxner.files.clones import committed
from flaxner.files.records import is_ours, is_plain, read_record

HALF = re.compile("[\ud800-\udfff]")  # how Python represents bytes that are not UTF-8


def _never(folder: Path) -> bool:
    return False


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of folder that flaxner writes.

    Attributes:
      name: what it is, in words with an article.
      seal: the file that identifies such a folder: it is removed first and written last.
      names: files that are always written, checked before the work that produces them.
      card: a file that people edit: their version is kept.
      remedy: how to replace it anyway, for the note that it is kept.
      known: whether a folder without a record was written by an earlier version.
      clone: whether a git clone is one of the kind, so that its committed files may be replaced.
      plain: whether the folder's path must be UTF-8, for the libraries that write into it.
    """

    name: str
    seal: str
    names: tuple[str, ...]
    card: str = ""
    remedy: str = ""
    known: Callable[[Path], bool] = _never
    clone: Callable[[Path], bool] = _never
    plain: bool = False


class Plan(NamedTuple):
    """What to do with existing files where new ones go, by name."""

    ours: list[str]  # to be deleted once the new ones are there
    others: list[str]  # to be set aside and kept
    kept: list[str]  # to stay where they are
    same: list[str]  # identical to the new ones
    refused: list[str]


def check_folder(path: str | Path, kind: Kind) -> None:
    """Refuse a folder where files of this kind cannot be written without losing something.

    Args:
      path: the folder, which need not exist.
      kind: kind of the folder.

    Raises:
      ValueError: it is a file or a folder of another kind, holds files of its names that flaxner
        did not write or that were changed, or has a path that the libraries cannot write to.
      OSError: as `check_writable`.
    """
    target = check_writable(path)
    if kind.plain:
        refuse_odd_path(path)
    plan = plan_for(target, kind, {name: {} for name in kind.names}, new_card=False)
    refuse(target, kind, plan.refused)


def check_writable(path: str | Path) -> Path:
    """Return a folder's path, links resolved, if it is or can be made a folder to write to.

    Raises:
      ValueError: it, or what should be a folder above it, is a file; or nothing can be appended to
        files there.
      OSError: nothing can be written there; the error names the folder.
    """
    real = Path(os.path.realpath(path))
    there = next(folder for folder in (real, *real.parents) if os.path.lexists(folder))
    if not there.is_dir():
        raise ValueError(f"{there} is a file: choose another folder than {path}")
    try:
        with contextlib.suppress(AttributeError, OSError):  # a disk of Linux: leaves no name
            os.close(os.open(there, os.O_TMPFILE | os.O_WRONLY))
            return real
        number, name = tempfile.mkstemp(dir=there, prefix=".", suffix=PART)
        os.close(number)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        for _ in range(2):  # a mounted bucket may refuse to change a file that is not empty
            with open(name, "ab") as file:
                file.write(b"appended")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise ValueError(
            f"files in {there} cannot be appended to ({error.strerror}): mount it with a cache for "
            "writing, as with rclone mount --vfs-cache-mode writes, or choose another folder"
        ) from error
    finally:
        os.unlink(name)
    return real


def refuse_odd_path(path: str | Path) -> None:
    """Refuse a folder whose path, links resolved, is not UTF-8, as some libraries require.

    Raises:
      ValueError: it is not UTF-8; the message names the part that is not.
    """
    real = Path(os.path.realpath(path))
    try:
        str(real).encode()
    except UnicodeEncodeError:
        odd = next(part for part in real.parts if HALF.search(part))
        raise ValueError(
            f"the name {odd!r} in the path of {str(path)!r} is not UTF-8, so neither a model nor "
            "a checkpoint can be written or read there: rename it, or choose another folder"
        ) from None


def refuse(target: Path, kind: Kind, refused: Sequence[str]) -> None:
    """Refuse a folder of another kind, or one where these files are in the way.

    Raises:
      ValueError: it is of another kind, or there are such files.
    """
    record = read_record(target)
    if record is not None and record.kind != kind.name:
        raise ValueError(f"{target} holds {record.kind}: choose another folder for {kind.name}")
    if not refused:
        return
    changed = [name for name in refused if record is not None and name in record.files]
    names = changed or refused
    named = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    are, were, them = ("are", "were", "them") if len(names) > 1 else ("is", "was", "it")
    why = f"changed since flaxner wrote {them}" if changed else "not written by flaxner"
    hint = f"move {them} away, or choose another folder"
    if os.path.lexists(target / ".git"):
        hint = f"commit {them} to the clone, {hint}"
    raise ValueError(f"{target} is in use: {named} {are} in the way and {were} {why}: {hint}")


def plan_for(target: Path, kind: Kind, entries: Mapping[str, Mapping], *, new_card: bool) -> Plan:
    """Sort the existing files where the entries go; an empty entry has unknown content."""
    record = read_record(target)
    there = [
        name for name in entries if os.path.lexists(target / name) or not is_plain(target, name)
    ]
    plan = Plan([], [], [], [], [])
    rest = []
    for name in there:
        if is_ours(target, name, record):
            plan.ours.append(name)
        elif entries[name] and manifest.is_same(target / name, entries[name]):
            plan.same.append(name)
        else:
            rest.append(name)
    if not rest:
        return plan
    a_clone = kind.clone(target)
    before = record is None and kind.known(target)
    held = committed(target, rest) if a_clone else set()
    for name in rest:
        plain = is_plain(target, name) and (target / name).is_file()
        if plain and name == kind.card and (record is not None or a_clone or before):
            (plan.others if new_card else plan.kept).append(name)
        elif name in held:
            plan.ours.append(name)
        elif plain and before:
            plan.others.append(name)
        else:
            plan.refused.append(name)
    return plan
