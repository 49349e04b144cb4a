"""Save, find, verify and restore the state of a run; the only module that uses Orbax."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from flaxner.devices import processes
from flaxner.files import manifest, refuse_odd_path, write_json
from flaxner.runs.noise import hush
from flaxner.runs.state import TrainState
from flaxner.runs.steps import FORMERLY, PARTS, RUN, Progress, StepFolders
from flaxner.wording import first_line

# System messages for a failed write, which TensorStore buries in many more words.
SYSTEM = (
    *("No space left on device", "Disk quota exceeded", "File too large"),
    "Too many open files",
)
SMALL = 2**22  # bytes; see `_once`
BESIDE = "beside"  # in a checkpoint's training part: published parameters that no model has


class SaveError(OSError):
    """A checkpoint could not be written; earlier ones are unaffected."""


class Checkpoints(StepFolders):
    """The checkpoints of one run folder, written and read with Orbax.

    All processes of a run make the same calls. The constructor raises ValueError if the folder's
    path is not valid text.
    """

    def __init__(self, folder: str | Path, *, keep: int = 2, read_only: bool = False) -> None:
        refuse_odd_path(folder)
        hush()  # Orbax logs every save at INFO, and failures with tracebacks
        super().__init__(folder, keep=keep, writes=not read_only and processes.is_main())
        # Our manifest says that a checkpoint is complete, so nothing needs to be renamed for that;
        # in a mounted bucket, folders often cannot be.
        named = {"temporary_path_class": ocp.path.atomicity.CommitFileTemporaryPath}
        parts = ocp.CompositeCheckpointHandler(composite_options=ocp.CompositeOptions(**named))
        self._files = ocp.AsyncCheckpointer(parts, **named)
        self._restored: int | None = None  # the step that this session resumed from
        self._saving: int | None = None
        self._place = self.folder
        self._sealing: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(
        self,
        state: TrainState,
        progress: Progress,
        fingerprint: Mapping[str, Any],
        published: Mapping[str, Any] | None = None,
    ) -> None:
        """Start saving; the files are written while training continues.

        If this is the step that was restored, its checkpoint is replaced; the old one remains valid
        until the new one is complete.

        Args:
          state: the state.
          progress: the progress of the run.
          fingerprint: what must match for the run to be resumed.
          published: the parameters of the model to publish; None: `state.published`.

        Raises:
          SaveError: this checkpoint or the previous one could not be saved.
        """
        self.wait()
        self.prune()
        step = self._saving = int(state.step)
        own = state.published
        parts = jax.tree.map(_once, _divided(state, own, published or own))
        again = step == self._restored
        place = self._place = self._again(step) if again else self.path_of(step)
        self._make_way(place, step)
        try:
            args = map(ocp.args.StandardSave, parts)
            named = ocp.args.Composite(**dict(zip(PARTS, args, strict=True)))
            self._files.save(place, args=named, force=True)
        except Exception as error:
            raise self._failed(error) from error
        run = {"progress": progress._asdict(), "fingerprint": dict(fingerprint)}
        if self._writes:
            self._sealing = threading.Thread(
                target=self._seal, args=(step, place, run), name="flaxner-seal", daemon=True
            )
            self._sealing.start()

    def _seal(self, step: int, place: Path, run: Mapping[str, Any]) -> None:
        try:
            self._files.wait_until_finished()
            write_json(place / RUN, run)
            manifest.seal(place)
            if place != self.path_of(step):
                self._replace(step)
        except BaseException as error:  # re-raised by `wait`
            self._error = error

    def wait(self) -> None:
        """Wait until the last save is on disk.

        Raises:
          SaveError: the checkpoint could not be saved.
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
        """Describe the error in one sentence; remove the partial save, as the disk may be full."""
        step, self._saving, self._error = self._saving, None, None
        if self._writes:
            self._sweep()
            if step is not None and not manifest.is_sealed(self._place):
                shutil.rmtree(self._place, ignore_errors=True)
        return SaveError(f"cannot save checkpoint {step} in {self.folder}: {_reason(error)}")

    def restore(
        self, step: int, like: TrainState, published: Mapping[str, Any] | None = None
    ) -> TrainState:
        """Return the state at `step`, sharded like `like` regardless of the devices that saved it.

        If the published parameters were given to `save`, they must be given here as well, or
        their shapes and shardings, and are part of the state that is returned.

        Raises:
          ValueError: the checkpoint does not exist or is damaged.
        """
        self.verify(step)
        abstract, whole = jax.tree.map(ocp.utils.to_shape_dtype_struct, (like, published))
        wanted = _divided(abstract, abstract.params, whole or abstract.params)
        names = self._parts(step)
        self._restored = step
        args = dict(zip(names, map(ocp.args.StandardRestore, wanted), strict=True))
        loaded = self._files.restore(self.path_of(step), args=ocp.args.Composite(**args))
        return _joined(*(loaded[name] for name in names), averaged=like.average is not None)

    def saved_shape(self, step: int, *names: str) -> tuple[int, ...] | None:
        """Return the shape of an array in the training part of a checkpoint; None if absent."""
        folder = self.path_of(step) / self._parts(step)[1]
        with ocp.StandardCheckpointer() as reader:
            leaf: Any = reader.metadata(folder).item_metadata.tree
        for name in names:
            if name not in leaf:
                return None
            leaf = leaf[name]
        return tuple(leaf.shape)

    def restore_params(
        self, step: int, shapes: Mapping[str, jax.ShapeDtypeStruct]
    ) -> dict[str, Any]:
        """Return only the parameters at `step`; `shapes` carries the desired shardings.

        Raises:
          ValueError: the checkpoint does not exist (the message lists those that do) or is damaged.
        """
        self.verify(step)
        weights, _ = self._parts(step)
        args = ocp.args.Composite(**{weights: ocp.args.StandardRestore(dict(shapes))})
        return dict(self._files.restore(self.path_of(step), args=args)[weights])

    def _parts(self, step: int) -> tuple[str, str]:
        return FORMERLY if (self.path_of(step) / FORMERLY[0]).is_dir() else PARTS

    def close(self) -> None:
        """Finish saving, prune old checkpoints, and release the folder.

        Raises:
          SaveError: the last checkpoint could not be saved.
        """
        try:
            self.wait()
            self.prune()
        finally:
            self._files.close()


def _once(array: Any) -> Any:
    """Return the first device's copy of a small, fully replicated array; others unchanged.

    For a replicated array, Orbax has each device send a slice, cut by a separately compiled
    program. That pays off for large arrays, but for all the biases it means dozens of compilations
    and thousands of calls.
    """
    one = isinstance(array, jax.Array) and array.is_fully_addressable and array.is_fully_replicated
    return array.addressable_data(0) if one and array.nbytes < SMALL else array


def _divided(
    state: TrainState, own: Mapping[str, Any], published: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Return the two PARTS of a checkpoint: the weights to publish, and the rest of the state.

    Args:
      state: the state.
      own: those of its parameters that are published.
      published: the weights to publish; what `own` has beyond them goes into the rest.
    """
    rest = {"step": state.step, "opt_state": state.opt_state}
    beside = {path: value for path, value in own.items() if path not in published}
    if beside:
        rest[BESIDE] = beside
    if state.average is not None:
        kept = {name: value for name, value in state.average.items() if name != "mean"}
        rest |= {"params": state.params, **({"average": kept} if kept else {})}
    return published, rest


def _joined(published: Any, rest: Mapping[str, Any], *, averaged: bool) -> TrainState:
    """Return the state made of the two PARTS of a checkpoint."""
    published = {**published, **rest.get(BESIDE, {})}
    if not averaged:
        return TrainState(rest["step"], published, rest["opt_state"])
    average = {"mean": published, **rest.get("average", {})}
    return TrainState(rest["step"], rest["params"], rest["opt_state"], average)


def _reason(error: BaseException) -> str:
    """Extract the system's error message from what Orbax and TensorStore wrap around it."""
    seen: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        seen.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    text = "\n".join(seen)
    for known in SYSTEM:
        if known.lower() in text.lower():
            return known
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return first_line(error)
