"""Save, find, verify and restore the state of a run. The only door to Orbax."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from flaxner.devices import processes
from flaxner.files import write_json
from flaxner.runs import manifest
from flaxner.runs.state import TrainState

RUN = "run.json"
DAMAGED = ".damaged"
DOOMED = ".doomed-"
# The parts of a checkpoint: weights, and what training needs beside them. Orbax's own load_pytree,
# told nothing, takes "pytree" or, in later versions, the first in the alphabet.
PARTS = ("pytree", "training")
FORMERLY = ("params", "optimizer")  # in runs of before
UNFINISHED = ".orbax-checkpoint-tmp"  # in the names of Orbax's drafts


class Progress(NamedTuple):
    """What a run knows beside its state, saved with it.

    Attributes:
      best_step: step of the best evaluation so far, -1 before the first.
      best_score: its validation F1.
      evaluated: step of the last evaluation, 0 before the first.
      logged_lines: lines of metrics.jsonl that this state had written.
      seconds: training time behind this state, over all sessions.
      compiled: [program, rows, row length, times]: what sessions behind this state compiled.
    """

    best_step: int = -1
    best_score: float = -1.0
    evaluated: int = 0
    logged_lines: int = 0
    seconds: float = 0.0
    compiled: tuple[tuple[str, int, int, int], ...] = ()


class SaveError(OSError):
    """A checkpoint could not be written; the earlier ones are as they were."""


class Checkpoints:
    """The checkpoints of one run folder: OUT/checkpoints/STEP, each whole or not counted.

    A checkpoint counts once its manifest is there, which is written after everything else and
    holds the size and SHA-256 of every file. All processes of a run make the same calls.
    """

    def __init__(self, folder: str | Path, *, keep: int = 2, read_only: bool = False) -> None:
        # Orbax reports each save at INFO and failures with tracebacks; we say them in a sentence.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        self.folder, self.keep = Path(folder).absolute(), keep
        self._files = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())
        self._writes = not read_only and processes.is_main()
        self._saving: int | None = None
        self._sealing: threading.Thread | None = None
        self._error: BaseException | None = None
        if self._writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()

    def save(self, state: TrainState, progress: Progress, fingerprint: Mapping[str, Any]) -> None:
        """Start saving; the files are written while training goes on.

        Raises:
          SaveError: this or the last one could not be saved.
        """
        self.wait()
        self.prune()
        step = self._saving = int(state.step)
        try:
            self._files.save(
                self._of(step),
                args=ocp.args.Composite(
                    **{
                        PARTS[0]: ocp.args.StandardSave(state.params),
                        PARTS[1]: ocp.args.StandardSave(
                            {"step": state.step, "opt_state": state.opt_state}
                        ),
                    }
                ),
                force=True,
            )
        except Exception as error:
            raise self._failed(error) from error
        run = {"progress": progress._asdict(), "fingerprint": dict(fingerprint)}
        if self._writes:
            self._sealing = threading.Thread(
                target=self._seal, args=(step, run), name="flaxner-seal", daemon=True
            )
            self._sealing.start()

    def _seal(self, step: int, run: Mapping[str, Any]) -> None:
        try:
            self._files.wait_until_finished()
            write_json(self._of(step) / RUN, run)
            manifest.seal(self._of(step))
        except BaseException as error:  # handed to `wait`, which raises it
            self._error = error

    def wait(self) -> None:
        """Return when the last save is on disk.

        Raises:
          SaveError: it could not be saved.
        """
        if self._sealing is not None:
            self._sealing.join()
            self._sealing = None
            if self._error is not None:
                raise self._failed(self._error) from self._error
        try:
            self._files.wait_until_finished()
        except Exception as error:
            raise self._failed(error) from error
        self._saving = None

    def _failed(self, error: BaseException) -> SaveError:
        """The error in a sentence; what the attempt left is removed, for the disk may be full."""
        step, self._saving, self._error = self._saving, None, None
        if self._writes:
            self._sweep()
            if step is not None and not manifest.is_sealed(self._of(step)):
                shutil.rmtree(self._of(step), ignore_errors=True)
        return SaveError(f"cannot save checkpoint {step} in {self.folder}: {_reason(error)}")

    def steps(self) -> list[int]:
        """Steps with a finished checkpoint, ascending."""
        return [step for step in self._found() if manifest.is_sealed(self._of(step))]

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
            reason = manifest.damage(self._of(step))
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
            shutil.rmtree(aside, ignore_errors=True)
            self._of(bad).rename(aside)
            say(f"checkpoint {self._of(bad)} is damaged ({reason}): set aside as {aside.name}")
        for newer in (found for found in self._found() if found > step):
            say(f"checkpoint {self._of(newer)} was not finished: it is not used")
        return step

    def verify(self, step: int) -> None:
        """Check every file of a checkpoint.

        Raises:
          ValueError: not there, those there are named; or damaged.
        """
        processes.on_main(lambda: self._verify(step))

    def _verify(self, step: int) -> None:
        if step not in self.steps():
            raise ValueError(f"{self.folder} has no checkpoint {step}; it has {self.steps()}")
        reason = manifest.damage(self._of(step))
        if reason is not None:
            raise ValueError(f"checkpoint {self._of(step)} is damaged: {reason}")

    def describe(self, step: int) -> tuple[Progress, dict[str, Any]]:
        """Progress and fingerprint of a checkpoint."""
        run = processes.on_main(lambda: json.loads((self._of(step) / RUN).read_text("utf-8")))
        progress = run["progress"]
        progress["compiled"] = tuple(tuple(row) for row in progress["compiled"])
        return Progress(**progress), run["fingerprint"]

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state at `step`, placed as `like` is, whatever the devices that saved it.

        Raises:
          ValueError: no such checkpoint, or a damaged one.
        """
        self.verify(step)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        weights, rest = self._parts(step)
        loaded = self._files.restore(
            self._of(step),
            args=ocp.args.Composite(
                **{
                    weights: ocp.args.StandardRestore(abstract.params),
                    rest: ocp.args.StandardRestore(
                        {"step": abstract.step, "opt_state": abstract.opt_state}
                    ),
                }
            ),
        )
        return TrainState(loaded[rest]["step"], loaded[weights], loaded[rest]["opt_state"])

    def restore_params(
        self, step: int, shapes: Mapping[str, jax.ShapeDtypeStruct]
    ) -> dict[str, Any]:
        """The parameters at `step` alone; `shapes` carry the shardings wanted.

        Raises:
          ValueError: no such checkpoint, those there are named; or a damaged one.
        """
        self.verify(step)
        weights, _ = self._parts(step)
        args = ocp.args.Composite(**{weights: ocp.args.StandardRestore(dict(shapes))})
        return dict(self._files.restore(self._of(step), args=args)[weights])

    def _parts(self, step: int) -> tuple[str, str]:
        return FORMERLY if (self._of(step) / FORMERLY[0]).is_dir() else PARTS

    def prune(self) -> None:
        """Delete all but the newest few finished checkpoints and the best model of each."""
        steps = self.steps() if self._writes else []
        newest = steps[-self.keep :]
        kept = {*newest, *(self._best(step) for step in newest)}
        for step in self._found() if newest else []:
            if step not in kept and step < newest[-1]:
                doomed = self.folder / f"{DOOMED}{step}"
                os.replace(self._of(step), doomed)  # never half there under its own name
                shutil.rmtree(doomed, ignore_errors=True)

    def _best(self, step: int) -> int:
        try:
            return json.loads((self._of(step) / RUN).read_text("utf-8"))["progress"]["best_step"]
        except (OSError, ValueError, KeyError, TypeError):  # damaged: found when it is used
            return -1

    def close(self) -> None:
        """Finish saving, prune, and release the folder.

        Raises:
          SaveError: the last one could not be saved.
        """
        try:
            self.wait()
            self.prune()
        finally:
            self._files.close()

    def _of(self, step: int) -> Path:
        return self.folder / str(step)

    def _found(self) -> list[int]:
        names = (path.name for path in self.folder.iterdir()) if self.folder.is_dir() else ()
        return sorted(int(name) for name in names if name.isdecimal())

    def _sweep(self) -> None:
        """Remove what killed sessions left half done."""
        for path in self.folder.iterdir():
            if UNFINISHED in path.name or path.name.startswith(DOOMED):
                shutil.rmtree(path, ignore_errors=True)


def _reason(error: BaseException) -> str:
    """What the system said, out of what Orbax and TensorStore wrap around it."""
    seen: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        seen.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    text = "\n".join(seen)
    for known in ("No space left on device", "Disk quota exceeded", "File too large"):
        if known.lower() in text.lower():
            return known
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0]
