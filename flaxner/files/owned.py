"""Folders that flaxner writes: it replaces only its own files, and either all of them or none.

Files that somebody else added or changed stay: the new files are put beside them, or are refused
if they would take their place.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from flaxner.files import manifest
from flaxner.files.atomic import (
    exchange,
    free_name,
    make_folder,
    naming,
    swaps,
    sweep_parts,
    write_json,
)
from flaxner.files.kinds import Kind, check_folder, plan_for, refuse
from flaxner.files.records import (
    RECORD,
    Entries,
    Record,
    is_inside,
    is_ours,
    is_plain,
    read_record,
    remove_ours,
    write_record,
)
from flaxner.wording import few

DRAFT, LOCK = ".flaxner-draft", ".flaxner-lock"
ASIDE = ".replaced"  # .replaced-1, ...: files that were in the place of new ones
JOURNAL = ".flaxner-journal.json"  # in a complete draft: what is still to be done


def write_folder(
    path: str | Path, kind: Kind, fill: Callable[[Path], object], *, new_card: bool = False
) -> list[str]:
    """Put what `fill` writes into a folder, completely or not at all, and record it there.

    Earlier files that flaxner wrote and nobody changed are replaced or, if there is no new one,
    deleted. They are moved aside until the new ones are in place; a folder that holds nothing
    else is swapped in one step where the file system can do that. A write that was killed midway
    is completed by the next one.

    Args:
      path: the folder; a symbolic link is followed.
      kind: kind of the folder.
      fill: writes the files into an empty folder.
      new_card: replace an edited card; the old one is set aside.

    Returns:
      one sentence for each thing that stays and is not from this write.

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
        make_folder(draft)
        if whole and not swaps(draft):
            draft.rmdir()
            whole, draft = False, target / DRAFT
            _clear(draft)
            make_folder(draft)
        try:
            with naming(target):
                fill(draft)
            entries = manifest.listing(draft)
            if whole:
                write_record(draft, Record(kind.name, entries))
                notes = _swap(draft, target)
            else:
                notes = _merge(draft, target, kind, entries, new_card)
        finally:
            if not (draft / JOURNAL).exists():  # else the next write completes the work
                _clear(draft)
        for aside in target.glob(f"{ASIDE}-*"):  # left by a write that was killed at its end
            remove_ours(aside)
        return notes


def _swap(draft: Path, target: Path) -> list[str]:
    """Replace a folder that is all ours, or absent, with the new one."""
    if not os.path.lexists(target):
        os.rename(draft, target)
        return []
    exchange(draft, target)
    left = remove_ours(draft)
    if not left:
        return []
    kept = free_name(_beside(target, ASIDE))  # written there while we worked
    os.rename(draft, kept)
    return [f"moved {', '.join(left)} from {target} to {kept}"]


def _merge(draft: Path, target: Path, kind: Kind, entries: Entries, new_card: bool) -> list[str]:
    """Put new files into a folder that holds others as well."""
    plan = plan_for(target, kind, entries, new_card=new_card)
    refuse(target, kind, plan.refused)
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
        f"{target / name} is kept as it is, because it was edited or not written by flaxner: it "
        f"may describe another model{kind.remedy}" for name in plan.kept
    ]  # fmt: skip
    if left:
        notes.append(
            f"replaced files of {target} are kept in {target / job['aside']}: {few(left, 5)}"
        )
    if lost:
        notes.append(f"{target} keeps {few(lost, 5)}, changed since flaxner wrote it")
    return notes


def _finish(target: Path) -> list[str]:
    """Do what a journal says is still to be done; return what is kept aside."""
    draft = target / DRAFT
    job = _read_journal(target)
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
        if os.path.lexists(target / name):  # it appeared while we worked
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


def _read_journal(target: Path) -> dict[str, Any]:
    """Read what is still to be done in a folder.

    A clone may come with a journal, so none may reach outside the folder.

    Raises:
      ValueError: it is not a journal, or it names something outside the folder or behind a link.
    """
    draft = target / DRAFT
    try:
        job = json.loads((draft / JOURNAL).read_text("utf-8"))
        aside = target / job["aside"]
        sound = re.fullmatch(rf"{re.escape(ASIDE)}-\d+", job["aside"]) is not None
        sound = sound and not (draft.is_symlink() or aside.is_symlink())
        for name in (*job["away"], *job["put"]):
            plain = is_inside(name) and all(is_plain(p, name) for p in (target, draft, aside))
            sound = sound and plain
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{draft / JOURNAL} is not a journal") from error
    if not sound:
        raise ValueError(f"{draft / JOURNAL} names files outside {target}")
    return job


def _move(source: Path, destination: Path) -> None:
    make_folder(destination.parent)
    os.rename(source, destination)


def _recover(target: Path) -> None:
    """Complete what a killed process left half done."""
    sweep_parts(target)
    if (target / DRAFT / JOURNAL).is_file():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # not a journal of ours
            _finish(target)


def _clear(draft: Path) -> None:
    """Delete a draft; if it is a folder that was swapped out, keep what is not ours."""
    if (draft / RECORD).is_file() and remove_ours(draft):
        os.rename(draft, free_name(draft.with_name(draft.name.removesuffix(DRAFT) + ASIDE)))
    shutil.rmtree(draft, ignore_errors=True)


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(f".{target.name}{suffix}")


def _is_whole(target: Path) -> bool:
    """Whether everything in the folder is ours, and another folder can take its place."""
    record = read_record(target)
    if record is None or os.path.ismount(target) or not os.access(target.parent, os.W_OK):
        return False
    try:
        if Path(os.path.realpath(os.getcwd())).is_relative_to(target):
            return False  # a shell whose working folder it is would not see the new one
    except OSError:
        return False
    if set(manifest.names_below(target)) != {*record.files, RECORD}:
        return False
    return all(is_ours(target, name, record) for name in record.files)


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Make this the only process that writes to the folder."""
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
