"""Folders that flaxner writes: only what it wrote itself is replaced, and is whole or as it was.

What somebody else put into such a folder, or changed in it, stays: the new files are put beside
it, or are refused where they would take its place.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from flaxner.files import manifest
from flaxner.files.atomic import exchange, free_name, make_folder, sweep_parts, write_json
from flaxner.files.clones import committed
from flaxner.files.records import (
    RECORD,
    Entries,
    Record,
    is_ours,
    is_plain,
    read_record,
    remove_ours,
    write_record,
)

DRAFT, LOCK, OLD = ".flaxner-draft", ".flaxner-lock", ".flaxner-old"
ASIDE = ".replaced"  # .replaced-1, ...: what stood where something new was put
JOURNAL = ".flaxner-journal.json"  # in a draft that is whole: what is still to be done


def _never(folder: Path) -> bool:
    return False


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of folder that flaxner writes.

    Attributes:
      name: what it is, in words with an article.
      seal: the file without which nobody takes it for one: it goes first and comes last.
      names: files that are always written, to be checked for before the work that makes them.
      card: a file that people edit: theirs is kept.
      remedy: what replaces it all the same.
      known: whether a folder without record is one that an earlier version wrote.
      clone: whether a git clone is one of the kind, whose committed files are replaced.
    """

    name: str
    seal: str
    names: tuple[str, ...]
    card: str = ""
    remedy: str = ""
    known: Callable[[Path], bool] = _never
    clone: Callable[[Path], bool] = _never


class Plan(NamedTuple):
    """What to do with the files that stand where new ones go, by name."""

    ours: list[str]  # to be deleted once the new ones are there
    others: list[str]  # to be set aside and kept
    kept: list[str]  # to stay where they are
    same: list[str]  # as the new ones are
    refused: list[str]


def check_folder(path: str | Path, kind: Kind, names: Sequence[str] | None = None) -> None:
    """Refuse a folder where files of this kind cannot be put without a loss.

    Args:
      path: the folder, which need not exist.
      kind: of the folder.
      names: the files to put there; those that the kind always has if None.

    Raises:
      ValueError: it is a file, a folder of another kind, or holds files of these names that are
        somebody else's or were changed.
    """
    target = Path(os.path.realpath(path))
    if os.path.lexists(target) and not target.is_dir():
        raise ValueError(f"{path} is a file: name another folder")
    plan = _plan(target, kind, {name: {} for name in names or kind.names}, new_card=False)
    _refuse(target, kind, plan.refused)


def _refuse(target: Path, kind: Kind, refused: Sequence[str]) -> None:
    record = read_record(target)
    if record is not None and record.kind != kind.name:
        raise ValueError(f"{target} holds {record.kind}: name another folder for {kind.name}")
    if not refused:
        return
    changed = [name for name in refused if record is not None and name in record.files]
    named = ", ".join((changed or refused)[:5]) + (", ..." if len(changed or refused) > 5 else "")
    why = "changed since flaxner wrote it" if changed else "not written by flaxner"
    hint = "move it away, or name another folder"
    if os.path.lexists(target / ".git"):
        hint = "commit it to the clone, move it away, or name another folder"
    raise ValueError(f"{target} is in use: {named} is in the way and was {why}: {hint}")


def write_folder(
    path: str | Path, kind: Kind, fill: Callable[[Path], object], *, new_card: bool = False
) -> list[str]:
    """Put what `fill` writes into a folder, whole or not at all, and record it there.

    Files of an earlier time that flaxner wrote and nobody changed are replaced or, where there
    is no new one, deleted. They are moved aside until the new ones are in place; a folder that
    holds nothing else changes in one step. A write that was killed midway is completed by the
    next one.

    Args:
      path: the folder; a symbolic link is followed.
      kind: of the folder.
      fill: writes the files into an empty folder.
      new_card: replace a card that was edited; the old one is set aside.

    Returns:
      what stays that is not of this writing, one sentence each.

    Raises:
      ValueError: as `check_folder`, or another process is writing there; nothing has changed.
    """
    target = Path(os.path.realpath(path))
    make_folder(target.parent)
    with _alone(target):
        _recover(target)
        check_folder(target, kind)
        whole = not os.path.lexists(target) or _is_whole(target)
        draft = _beside(target, DRAFT) if whole else target / DRAFT
        _clear(draft)
        draft.mkdir()
        try:
            fill(draft)
            entries = manifest.listing(draft)
            if whole:
                write_record(draft, Record(kind.name, entries))
                notes = _swap(draft, target)
            else:
                notes = _merge(draft, target, kind, entries, new_card)
        finally:
            if not (draft / JOURNAL).exists():  # else the work is completed by the next writing
                _clear(draft)
        for aside in target.glob(f"{ASIDE}-*"):  # of a writing that was killed at its end
            remove_ours(aside)
        return notes


def _plan(target: Path, kind: Kind, entries: Mapping[str, Mapping], *, new_card: bool) -> Plan:
    """Sort what stands where the entries go; an empty entry is one whose content is not known."""
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


def _swap(draft: Path, target: Path) -> list[str]:
    """A folder of ours, or none, becomes the new one."""
    if not os.path.lexists(target):
        os.rename(draft, target)
        return []
    exchange(draft, target, _beside(target, OLD))
    left = remove_ours(draft)
    if not left:
        return []
    kept = free_name(_beside(target, ASIDE))  # written there while we worked
    os.rename(draft, kept)
    return [f"{', '.join(left)} of {target} was moved to {kept}"]


def _merge(draft: Path, target: Path, kind: Kind, entries: Entries, new_card: bool) -> list[str]:
    """New files take their places in a folder that holds others as well."""
    plan = _plan(target, kind, entries, new_card=new_card)
    _refuse(target, kind, plan.refused)
    old = read_record(target) or Record(kind.name, {})
    stale = [n for n in old.files if n not in entries and is_ours(target, n, old)]
    lost = [n for n in old.files if n not in entries and n not in stale and (target / n).exists()]
    put = [name for name in entries if name not in (*plan.kept, *plan.same)]
    away = [*plan.ours, *stale, *plan.others]
    edited = {name: old.files[name] for name in plan.kept if name in old.files}
    fresh = {name: entry for name, entry in entries.items() if name not in plan.kept}
    job: dict[str, Any] = {
        "aside": free_name(target / ASIDE).name,
        "gone": {name: manifest.entry(target / name) for name in (*plan.ours, *stale)},
        "away": sorted(away, key=lambda name: name != kind.seal),
        "put": sorted(put, key=lambda name: name == kind.seal),
        "record": Record(kind.name, fresh | edited)._asdict(),
    }
    write_json(draft / JOURNAL, job)
    left = _finish(target)
    notes = [
        f"{target / name} is kept as it is, for it was edited or flaxner did not write it: what "
        f"it says may be of another model{kind.remedy}" for name in plan.kept
    ]  # fmt: skip
    if left:
        notes.append(f"what stood in {target} is kept in {target / job['aside']}: {_some(left)}")
    if lost:
        notes.append(f"{_some(lost)} in {target} was changed since flaxner wrote it and stays")
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _finish(target: Path) -> list[str]:
    """Do what a journal says is still to be done; gives what is kept aside."""
    draft = target / DRAFT
    job = json.loads((draft / JOURNAL).read_text("utf-8"))
    aside = target / job["aside"]
    if job["away"]:
        aside.mkdir(exist_ok=True)
        write_record(aside, Record("what was replaced", job["gone"]))
    for name in job["away"]:
        if os.path.lexists(target / name) and not os.path.lexists(aside / name):
            _move(target / name, aside / name)
    for name in job["put"]:
        if not os.path.lexists(draft / name):
            continue  # done before we were interrupted
        if os.path.lexists(target / name):  # it came while we worked
            _move(target / name, free_name(aside / name))
        _move(draft / name, target / name)
    for name in job["away"]:
        for part in (target / name).parents:
            if part == target:
                break
            with contextlib.suppress(OSError):
                part.rmdir()
    if os.path.lexists(target / RECORD) and read_record(target) is None:
        os.rename(target / RECORD, free_name(target / f"{RECORD}.before"))
    write_record(target, Record(**job["record"]))
    (draft / JOURNAL).unlink()
    return remove_ours(aside) if aside.is_dir() else []


def _move(source: Path, destination: Path) -> None:
    make_folder(destination.parent)
    os.rename(source, destination)


def _recover(target: Path) -> None:
    """Complete what a killed process left half done."""
    sweep_parts(target)
    old = _beside(target, OLD)
    if not os.path.lexists(target) and old.is_dir():
        os.rename(old, target)
    if (target / DRAFT / JOURNAL).is_file():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # no journal of ours
            _finish(target)


def _clear(draft: Path) -> None:
    """Delete a draft; a folder that stood in the target's place is looked through first."""
    if (draft / RECORD).is_file() and remove_ours(draft):
        os.rename(draft, free_name(draft.with_name(draft.name.removesuffix(DRAFT) + ASIDE)))
    shutil.rmtree(draft, ignore_errors=True)


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(f".{target.name}{suffix}")


def _is_whole(target: Path) -> bool:
    """Whether all in the folder is ours, and another folder can take its place."""
    record = read_record(target)
    if record is None or os.path.ismount(target) or not os.access(target.parent, os.W_OK):
        return False
    try:
        if Path(os.path.realpath(os.getcwd())).is_relative_to(target):
            return False  # whoever stands in it would not see the new one
    except OSError:
        return False
    found = {
        path.relative_to(target).as_posix()
        for path in target.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    if found != {*record.files, RECORD}:
        return False
    return all(is_ours(target, name, record) for name in record.files)


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Be the only process that writes to the folder."""
    outside = os.access(target.parent, os.W_OK) or not target.is_dir()
    path = _beside(target, LOCK) if outside else target / LOCK
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(f"another process is writing to {target}: wait for it") from error
    except (NotImplementedError, OSError):  # a file system without locks: go on without one
        pass
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
