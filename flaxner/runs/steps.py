"""The folders of the steps that a run has saved: which count, which are whole, which may go."""

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
from flaxner.files.atomic import exchange, free_name

RUN = "run.json"
DAMAGED, KEPT = ".damaged", ".kept"
DOOMED = ".doomed-"
AGAIN = ".again-"  # of a step that is there: what is to take its place
UNFINISHED = ".orbax-checkpoint-tmp"  # in the names of Orbax's drafts
# The parts of a checkpoint: weights, and what training needs beside them. Orbax's own load_pytree,
# told nothing, takes "pytree" or, in later versions, the first in the alphabet.
PARTS = ("pytree", "training")
FORMERLY = ("params", "optimizer")  # in runs of before
# How names in a step's folder begin: ours, then Orbax's.
WRITTEN = (
    *(RUN, manifest.NAME, f".{RUN}", f".{manifest.NAME}", *PARTS, *FORMERLY),
    *("_", "d", "ocdbt.", "manifest.ocdbt", "array_metadatas", "commit_success"),
)


class Progress(NamedTuple):
    """What a run knows beside its state, saved with it.

    Attributes:
      best_step: step of the best evaluation so far, -1 before the first.
      best_score: its validation F1.
      evaluated: step of the last evaluation, 0 before the first.
      logged_lines: lines of metrics.jsonl that this state had written.
      seconds: training time behind this state, over all sessions.
      top_score: highest validation F1 of all evaluations.
      without_gain: evaluations since that one.
      compiled: [program, rows, row length, times]: what sessions behind this state compiled.
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
    """Whether a path has the name of a step's folder, finished, damaged or half written."""
    name = path.name.split(DAMAGED)[0]
    return name.isdecimal() or UNFINISHED in name or name.startswith((DOOMED, AGAIN))


class StepFolders:
    """OUT/checkpoints/STEP, each whole or not counted.

    A checkpoint counts once its manifest is there, which is written after everything else and
    holds the size and SHA-256 of every file.
    """

    def __init__(self, folder: str | Path, *, keep: int = 2, writes: bool = False) -> None:
        self.folder, self.keep = Path(folder).absolute(), keep
        self._writes = writes
        if writes:
            make_folder(self.folder)
            self._sweep()

    def steps(self) -> list[int]:
        """Steps with a finished checkpoint, ascending."""
        return [step for step in self._found() if manifest.is_sealed(self.path_of(step))]

    def path_of(self, step: int) -> Path:
        """The folder of a step."""
        return self.folder / str(step)

    def newest_whole(self, say: Callable[[str], None]) -> int | None:
        """The newest checkpoint that is what was written; damaged ones are set aside.

        Args:
          say: told about every checkpoint that is passed over, by name.

        Returns:
          its step, or None if none was ever finished.

        Raises:
          ValueError: all are damaged.
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
                    f"every checkpoint in {self.folder} is damaged (of {first}: {damaged[first]}): "
                    "start again with --overwrite"
                )
            return None
        for bad, reason in damaged.items():
            aside = self.folder / f"{bad}{DAMAGED}"
            aside = free_name(aside) if os.path.lexists(aside) else aside
            self.path_of(bad).rename(aside)
            say(f"checkpoint {self.path_of(bad)} is damaged ({reason}): set aside as {aside.name}")
        for newer in (found for found in self._found() if found > step):
            say(f"checkpoint {self.path_of(newer)} was not finished: it is not used")
        return step

    def damage(self, step: int) -> str | None:
        """What is wrong with the checkpoint of a step, in words; None: it is whole."""
        return processes.on_main(lambda: self._damage(step))

    def _damage(self, step: int) -> str | None:
        if step not in self.steps():
            return "it is missing"
        return manifest.damage(self.path_of(step))

    def verify(self, step: int) -> None:
        """Check every file of a checkpoint.

        Raises:
          ValueError: not there, those there are named; or damaged.
        """
        processes.on_main(lambda: self._verify(step))

    def _verify(self, step: int) -> None:
        if step not in self.steps():
            raise ValueError(f"{self.folder} has no checkpoint {step}; it has {self.steps()}")
        reason = manifest.damage(self.path_of(step))
        if reason is not None:
            raise ValueError(f"checkpoint {self.path_of(step)} is damaged: {reason}")

    def describe(self, step: int) -> tuple[Progress, dict[str, Any]]:
        """Progress and fingerprint of a checkpoint."""
        run = processes.on_main(lambda: json.loads((self.path_of(step) / RUN).read_text("utf-8")))
        progress = run["progress"]
        progress["compiled"] = tuple(tuple(row) for row in progress["compiled"])
        return Progress(**progress), run["fingerprint"]

    def prune(self) -> None:
        """Delete all but the newest few finished checkpoints and the best model of each.

        One into which somebody put a file stays.
        """
        steps = self.steps() if self._writes else []
        newest = steps[-self.keep :]
        kept = {*newest, *(self._best(step) for step in newest)}
        for step in self._found() if newest else []:
            path = self.path_of(step)
            if step not in kept and step < newest[-1] and not _strangers(path):
                self._delete(path, step)

    def _delete(self, path: Path, step: int) -> None:
        """A step's folder; one into which somebody put a file gets another name."""
        if _strangers(path):
            os.rename(path, free_name(self.folder / f"{step}{KEPT}"))
            return
        doomed = self.folder / f"{DOOMED}{step}"
        os.replace(path, doomed)  # never half there under its own name
        shutil.rmtree(doomed, ignore_errors=True)

    def _again(self, step: int) -> Path:
        """Where a step that is there is saved once more, until it is whole."""
        return self.folder / f"{AGAIN}{step}"

    def _replace(self, step: int) -> None:
        """Put what was saved once more in the place of the step, which is never empty."""
        again = self._again(step)
        exchange(again, self.path_of(step), self.folder / f"{DOOMED}{step}")
        self._delete(again, step)

    def _make_way(self, path: Path, step: int) -> None:
        """Clear the place of a step that is to be saved: a killed session may have left half."""
        if not self._writes or not os.path.lexists(path):
            return
        if manifest.is_sealed(path) or _strangers(path):
            os.rename(path, free_name(self.folder / f"{step}{KEPT}"))
        else:
            shutil.rmtree(path, ignore_errors=True)

    def _best(self, step: int) -> int:
        try:
            run = json.loads((self.path_of(step) / RUN).read_text("utf-8"))
            return run["progress"]["best_step"]
        except (OSError, ValueError, KeyError, TypeError):  # damaged: found when it is used
            return -1

    def _found(self) -> list[int]:
        names = (path.name for path in self.folder.iterdir()) if self.folder.is_dir() else ()
        return sorted(int(name) for name in names if name.isdecimal())

    def _sweep(self) -> None:
        """Remove what killed sessions left half done."""
        for path in list(self.folder.iterdir()):
            if path.name.startswith(AGAIN) and self._rescued(path):
                continue
            ours = UNFINISHED in path.name or path.name.startswith((DOOMED, AGAIN))
            if ours and not path.is_symlink() and not _strangers(path):
                shutil.rmtree(path, ignore_errors=True)

    def _rescued(self, again: Path) -> bool:
        """Put back what was saved once more, if its session was killed between two renames."""
        place = self.folder / again.name.removeprefix(AGAIN)
        if os.path.lexists(place) or not manifest.is_sealed(again):
            return False
        os.rename(again, place)
        return True


def _strangers(path: Path) -> list[str]:
    """What in a step's folder is not of a checkpoint."""
    if path.is_symlink() or not path.is_dir():
        return [path.name]
    if manifest.is_sealed(path) and manifest.sealed_files(path) is not None:
        return manifest.strangers(path)
    with contextlib.suppress(OSError):
        return [p.name for p in path.iterdir() if not p.name.startswith(WRITTEN)]
    return []
