"""Replacing one run with another: the old one is set aside until the new one has ended."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from flaxner.files.atomic import free_name, make_folder, move, write_text
from flaxner.files.owned import ASIDE
from flaxner.files.records import (
    RECORD,
    Record,
    is_ours,
    read_record,
    remove_empty,
    remove_ours,
    write_record,
)
from flaxner.runs.paths import FOLDS, HOLDER, LOCK, SEEDS, RunPaths
from flaxner.runs.steps import is_a_step
from flaxner.wording import few

# config.toml is moved last, because it says whether there are several seeds.
FILES = ("metrics.jsonl", "speed.jsonl", "results.json", "trackers.json", "report.html")
# Exists in a run's folder while it is set aside; holds the name of the target folder.
MOVING = ".flaxner-moving"


def set_aside(run: RunPaths, aside: Path | None = None) -> None:
    """Move what a run wrote into .replaced-N, in its folder and in those its links point to.

    Other files stay where they are, and so does an edited model card. A move that was killed midway
    is completed.

    Args:
      run: the run to be replaced.
      aside: the target folder; a new one in the run's folder if None.
    """
    if aside is None:
        aside = half_moved(run.path) or free_name(run.path / ASIDE)
        make_folder(aside)
        write_text(run.path / MOVING, aside.name)
    for member in run.members():
        set_aside(RunPaths(member), None if member.is_symlink() else aside / member.name)
    record = read_record(run.path)
    if record is not None and not os.path.lexists(aside / RECORD):  # keeps the moved files ours
        write_record(aside, record)
    _move(run.path, FILES, aside)
    for part in (run.model, run.predictions, run.hub):
        card = "README.md" if part == run.hub else ""
        _move_part(part, _written(part, card, before=record is None), aside)
    steps = list(run.checkpoints.iterdir()) if run.checkpoints.is_dir() else []
    _move_part(run.checkpoints, [path.name for path in steps if is_a_step(path)], aside)
    _move_part(run.events, [path.name for path in run.event_files()], aside)
    _move(run.path, (run.config.name,), aside)
    if {path.name for path in run.path.iterdir()} <= {LOCK, HOLDER, MOVING, RECORD, aside.name}:
        (run.path / RECORD).unlink(missing_ok=True)
    elif record is not None:  # other files here must not keep the next run out of its folder
        write_record(run.path, Record(record.kind, {}))
    (run.path / MOVING).unlink(missing_ok=True)


def half_moved(folder: str | Path) -> Path | None:
    """Return where part of the run is if setting it aside was interrupted; otherwise None."""
    try:
        name = (Path(folder) / MOVING).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    known = re.fullmatch(re.escape(ASIDE) + "-[0-9]+", name) and (Path(folder) / name).is_dir()
    return Path(folder) / name if known else None


def refuse_half_moved(folder: str | Path) -> None:
    """Reject a run that is in two places because setting it aside was interrupted.

    Raises:
      ValueError: it is; the message says how to finish replacing it and how to restore it.
    """
    aside = half_moved(folder)
    if aside is None:
        return
    run = RunPaths(folder)
    parts = [aside, *(part for place in _elsewhere(run) for part in place.glob(f"{ASIDE}-*"))]
    commands = [shlex.join(["cp", "-an", f"{part}/.", str(part.parent)]) for part in parts]
    back = " && ".join([*commands, shlex.join(["rm", str(run.path / MOVING)])])
    raise ValueError(
        f"the run in {folder} is being replaced, or its replacement was interrupted: part of it is "
        f"in {aside}; train with --overwrite to replace it after all, or restore it with: {back}"
    )


def _elsewhere(run: RunPaths) -> list[Path]:
    """Return the folders, possibly on other disks, that the links in a run point to."""
    parts = (run.model, run.predictions, run.hub, run.checkpoints, run.events)
    return [Path(os.path.realpath(part)) for part in parts if part.is_symlink()]


def _written(folder: Path, card: str, *, before: bool) -> list[str]:
    """Return the files that a folder's record lists, and the record itself unless the card stays.

    Without a record, return all files if the run dates from before records, else none.
    """
    record = read_record(folder)
    if record is None:
        inside = folder.rglob("*") if before and folder.is_dir() else ()
        files = [path for path in inside if path.is_symlink() or not path.is_dir()]
        return [path.relative_to(folder).as_posix() for path in files]
    if card and (folder / card).is_file() and not is_ours(folder, card, record):
        return [name for name in record.files if name != card]
    return [*record.files, RECORD]


def _move_part(part: Path, names: list[str], aside: Path) -> None:
    """Move a part into `aside`, or, if it is a link, to a folder inside its target."""
    if part.is_symlink():
        real = Path(os.path.realpath(part))
        _move(real, names, free_name(real / ASIDE))
    else:
        _move(part, names, aside / part.name)
        remove_empty(part)


def _move(folder: Path, names: tuple[str, ...] | list[str], aside: Path) -> None:
    record = read_record(folder)
    for name in names:
        if os.path.lexists(folder / name):
            make_folder((aside / name).parent)
            move(folder / name, aside / name)
    if record is not None and names and RECORD not in names and not os.path.lexists(aside / RECORD):
        write_record(aside, record)


def forget_replaced(run: RunPaths) -> list[str]:
    """Delete the unchanged files that `set_aside` moved; return sentences about what stays."""
    said = []
    folders = (run.path, *_elsewhere(run))
    for aside in [path for folder in folders for path in sorted(folder.glob(f"{ASIDE}-*"))]:
        left = [name for name in remove_ours(aside) if Path(name).name not in (LOCK, HOLDER)]
        if left:
            said.append(
                f"{aside} keeps replaced files that flaxner may not have written: {few(left, 5)}"
            )
    for member in (path for pattern in (FOLDS, SEEDS) for path in run.path.glob(pattern)):
        said += forget_replaced(RunPaths(member)) if member.is_symlink() else []
        _remove_left(member)
    return said


def _remove_left(member: Path) -> None:
    """Delete the folder of a fold or seed that contains nothing but its lock."""
    if member.is_symlink() or not member.is_dir():
        return
    left = list(member.iterdir())
    if {path.name for path in left} <= {LOCK, HOLDER}:
        for path in left:
            path.unlink()
        member.rmdir()
