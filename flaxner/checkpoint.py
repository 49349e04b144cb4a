"""Save, find and restore the state of a run. The only door to Orbax."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from flaxner.step import TrainState


class Progress(NamedTuple):
    """What a run knows beside its state, saved with it.

    Attributes:
      best_step: step of the best evaluation so far, -1 before the first.
      best_score: its validation F1.
      logged_lines: lines of metrics.jsonl that this state had written.
    """

    best_step: int = -1
    best_score: float = -1.0
    logged_lines: int = 0


class _Kept(checkpoint_managers.PreservationPolicy):
    """Keeps the newest few checkpoints and the best one."""

    def __init__(self, newest: int) -> None:
        self.newest, self.best = newest, -1

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """One flag a checkpoint, oldest first."""
        recent = len(checkpoints) - self.newest
        return [i >= recent or info.step == self.best for i, info in enumerate(checkpoints)]


class Checkpoints:
    """The checkpoints of one run folder: OUT/checkpoints/STEP, each whole or absent."""

    def __init__(self, folder: str | Path, *, keep: int = 2, read_only: bool = False) -> None:
        # Orbax reports each save at INFO and unusual devices as warnings; a user has no use for it.
        logging.getLogger("absl").setLevel(logging.ERROR)
        self.folder = Path(folder).absolute()
        self._kept = _Kept(keep)
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=self._kept,
                create=not read_only,
                read_only=read_only,
                cleanup_tmp_directories=not read_only,
            ),
        )

    def save(self, state: TrainState, progress: Progress, fingerprint: Mapping[str, Any]) -> None:
        """Start saving; the files are written while training goes on."""
        self._kept.best = progress.best_step
        step = int(state.step)
        self._manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                optimizer=ocp.args.StandardSave({"step": state.step, "opt_state": state.opt_state}),
                run=ocp.args.JsonSave(
                    {"progress": progress._asdict(), "fingerprint": dict(fingerprint)}
                ),
            ),
        )

    def steps(self) -> list[int]:
        """Steps with a whole checkpoint, ascending."""
        return sorted(self._manager.all_steps())

    def describe(self, step: int) -> tuple[Progress, dict[str, Any]]:
        """Progress and fingerprint of a checkpoint."""
        run = self._manager.restore(step, args=ocp.args.Composite(run=ocp.args.JsonRestore())).run
        return Progress(**run["progress"]), run["fingerprint"]

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state at `step`, placed as `like` is."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        loaded = self._manager.restore(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(abstract.params),
                optimizer=ocp.args.StandardRestore(
                    {"step": abstract.step, "opt_state": abstract.opt_state}
                ),
            ),
        )
        return TrainState(loaded.optimizer["step"], loaded.params, loaded.optimizer["opt_state"])

    def restore_params(
        self, step: int, shapes: Mapping[str, jax.ShapeDtypeStruct]
    ) -> dict[str, Any]:
        """The parameters at `step` alone; `shapes` carry the shardings wanted.

        Raises:
          ValueError: no such checkpoint; those there are named.
        """
        if step not in self.steps():
            raise ValueError(f"{self.folder} has no checkpoint {step}; it has {self.steps()}")
        args = ocp.args.Composite(params=ocp.args.StandardRestore(dict(shapes)))
        return dict(self._manager.restore(step, args=args).params)

    def wait(self) -> None:
        """Return when the last save is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Finish saving and release the folder."""
        self._manager.wait_until_finished()
        self._manager.close()
