"""The step folders that a run has saved: which are valid, which are intact, which may go."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from flaxner.devices import processes
from flaxner.files import make_folder, manifest
from flaxner.files.atomic import exchange, free_name, move, swaps

RUN = "run.json"
DAMAGED, KEPT = ".damaged", ".kept"
DOOMED = ".doomed-"  # prefix of a folder that an earlier version was deleting
AGAIN = ".again-"  # prefix of the folder that will replace the checkpoint of an existing step
UNFINISHED = ".orbax-checkpoint-tmp"  # part of the names of Orbax's temporary folders
# The parts of a checkpoint: the weights, and what training needs besides. Orbax's `v1` functions
# by default take "pytree" or, in later versions, the first name in alphabetical order.
PARTS = ("pytree", "training")
FORMERLY = ("params", "optimizer")  # the names in runs of earlier versions
# Prefixes of names in a step's folder: ours, then Orbax's.
WRITTEN = (
    *(RUN, manifest.NAME, f".{RUN}", f".{manifest.NAME}", *PARTS, *FORMERLY),
    *("_", "d", "ocdbt.", "manifest.ocdbt", "array_metadatas", "commit_success"),
)


class Progress(NamedTuple):
    """The progress of a run, saved along with its state.

    Attributes:
      best_step: step of the best evaluation so far, -1 before the first.
      best_score: its validation F1.
      evaluated: step of the last evaluation, 0 before the first.
      logged_lines: lines written to metrics.jsonl up to this state.
      seconds: training time up to this state, over all sessions.
      top_score: highest validation F1 of all evaluations.
      without_gain: evaluations since that one.
      compiled: (program, rows, row length, times) of the compilations up to this state.
    """

    best_step: int = -1
    best_score: float = -1.0
    evaluated: int = 0
    logged_lines: int = 0
    seconds: float = 0.0
    top_score: float = -1.0
    without_gain: int = 0
    compiled: tuple[tuple[str, int, int, int], ...] = ()


def is_a_step(path: Path) -> bool:
    """Whether a path has the name of a step's folder: complete, damaged or half written."""
    name = path.name.split(DAMAGED)[0]
    return name.isdecimal() or UNFINISHED in name or name.startswith((DOOMED, AGAIN))


class StepFolders:
    """The folders OUT/checkpoints/STEP, each either complete or ignored.

    A checkpoint is complete once it has its manifest, which is written after everything else and
    holds the size and SHA-256 of every file.
    """

    def __init__(self, folder: str | Path, *, keep: int = 2, writes: bool = False) -> None:
        self.folder, self.keep = Path(folder).absolute(), keep
        self._writes = writes
        if writes:
            make_folder(self.folder)
            self._sweep()

    def steps(self) -> list[int]:
        """Return the steps with a complete checkpoint, in ascending order."""
        return [step for step in self._found() if manifest.is_sealed(self.path_of(step))]

    def path_of(self, step: int) -> Path:
        """Return the folder of a step."""
        return self.folder / str(step)

    def newest_whole(self, say: Callable[[str], None]) -> int | None:
        """Find the newest intact checkpoint; set damaged ones aside.

        Args:
          say: called with a message about every checkpoint that is skipped.

        Returns:
          Its step, or None if no checkpoint was ever completed.

        Raises:
          ValueError: all checkpoints are damaged.
        """
        return processes.on_main(lambda: self._newest_whole(say))

    def _newest_whole(self, say: Callable[[str], None]) -> int | None:
        steps, damaged = self.steps(), {}
        for step in reversed(steps):
            reason = manifest.damage(self.path_of(step))
            if reason is None:
                break
            damaged[step] = reason
        else:
            if damaged:
                first = max(damaged)
                raise ValueError(
                    f"every checkpoint in {self.folder} is damaged (step {first}: "
                    f"{damaged[first]}): start over with --overwrite"
                )
            return None
        for bad, reason in damaged.items():
            aside = self.folder / f"{bad}{DAMAGED}"
            aside = free_name(aside) if os.path.lexists(aside) else aside
            move(self.path_of(bad), aside)
            say(f"checkpoint {self.path_of(bad)} is damaged ({reason}): set aside as {aside.name}")
        for newer in (found for found in self._found() if found > step):
            say(f"checkpoint {self.path_of(newer)} is incomplete and is not used")
        return step

    def damage(self, step: int) -> str | None:
        """Describe what is wrong with the checkpoint of a step; None if it is intact."""
        return processes.on_main(lambda: self._damage(step))

    def _damage(self, step: int) -> str | None:
        if step not in self.steps():
            return "it is missing"
        return manifest.damage(self.path_of(step))

    def verify(self, step: int) -> None:
        """Check every file of a checkpoint.

        Raises:
          ValueError: the checkpoint does not exist (the message lists those that do) or is damaged.
        """
        processes.on_main(lambda: self._verify(step))

    def _verify(self, step: int) -> None:
        if step not in self.steps():
            found = ", ".join(map(str, self.steps())) or "none"
            raise ValueError(f"{self.folder} has no checkpoint {step}; available: {found}")
        reason = manifest.damage(self.path_of(step))
        if reason is not None:
            raise ValueError(f"checkpoint {self.path_of(step)} is damaged: {reason}")

    def describe(self, step: int) -> tuple[Progress, dict[str, Any]]:
        """Return the progress and fingerprint of a checkpoint."""
        run = processes.on_main(lambda: json.loads((self.path_of(step) / RUN).read_text("utf-8")))
        progress = run["progress"]
        progress["compiled"] = tuple(tuple(row) for row in progress["compiled"])
        return Progress(**progress), run["fingerprint"]

    def best(self, step: int) -> int:
        """Return the step of the best evaluation up to a checkpoint, or -1."""
        try:
            run = json.loads((self.path_of(step) / RUN).read_text("utf-8"))
            return run["progress"]["best_step"]
        except (OSError, ValueError, KeyError, TypeError):  # damaged; reported when it is used
            return -1

    def prune(self) -> None:
        """Delete all but the newest `keep` complete checkpoints and the best model of each.

        A checkpoint to which somebody added a file stays.
        """
        steps = self.steps() if self._writes else []
        newest = steps[-self.keep :]
        kept = {*newest, *(self.best(step) for step in newest)}
        for step in self._found() if newest else []:
            path = self.path_of(step)
            if step not in kept and step < newest[-1] and not _strangers(path):
                self._delete(path, step)

    def _delete(self, path: Path, step: int) -> None:
        """Delete a step's folder; if somebody added a file to it, rename it instead."""
        if _strangers(path):
            move(path, free_name(self.folder / f"{step}{KEPT}"))
            return
        (path / manifest.NAME).unlink(missing_ok=True)  # never half there, but taken for complete
        shutil.rmtree(path, ignore_errors=True)

    def _again(self, step: int) -> Path:
        """Return where an existing step is saved again until the new copy is complete."""
        return self.folder / f"{AGAIN}{step}"

    def _replace(self, step: int) -> None:
        """Replace a step with its new copy; if we are killed meanwhile, `_rescued` ends it."""
        again, place = self._again(step), self.path_of(step)
        if swaps(again):
            exchange(again, place)
            self._delete(again, step)
        else:
            self._delete(place, step)
            move(again, place, manifest.NAME)

    def _make_way(self, path: Path, step: int) -> None:
        """Clear the place of a step to be saved, where a killed session may have left a part."""
        if not self._writes or not os.path.lexists(path):
            return
        if manifest.is_sealed(path) or _strangers(path):
            move(path, free_name(self.folder / f"{step}{KEPT}"))
        else:
            shutil.rmtree(path, ignore_errors=True)

    def _found(self) -> list[int]:
        names = (path.name for path in self.folder.iterdir()) if self.folder.is_dir() else ()
        return sorted(int(name) for name in names if name.isdecimal())

    def _sweep(self) -> None:
        """Remove what killed sessions left unfinished."""
        for path in list(self.folder.iterdir()):
            if path.name.startswith(AGAIN) and self._rescued(path):
                continue
            ours = UNFINISHED in path.name or path.name.startswith((DOOMED, AGAIN))
            if ours and not path.is_symlink() and not _strangers(path):
                shutil.rmtree(path, ignore_errors=True)

    def _rescued(self, again: Path) -> bool:
        """Put a new copy in place if its session was killed while it replaced the old one."""
        place = self.folder / again.name.removeprefix(AGAIN)
        if manifest.is_sealed(place) or not manifest.is_sealed(again):
            return False
        move(again, place, manifest.NAME)
        return True


def _strangers(path: Path) -> list[str]:
    """Return what in a step's folder does not belong to a checkpoint."""
    if path.is_symlink() or not path.is_dir():
        return [path.name]
    if manifest.is_sealed(path) and manifest.sealed_files(path) is not None:
        return manifest.strangers(path)
    with contextlib.suppress(OSError):
        return [p.name for p in path.iterdir() if not p.name.startswith(WRITTEN)]
    return []
