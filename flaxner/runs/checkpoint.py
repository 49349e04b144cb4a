"""Save, find, verify and restore the state of a run. The only door to Orbax."""

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

# What the system says of a file that cannot be written, and TensorStore in many more words.
SYSTEM = (
    *("No space left on device", "Disk quota exceeded", "File too large"),
    "Too many open files",
)
# Bytes; see `_once`.
SMALL = 2**22


class SaveError(OSError):
    """A checkpoint could not be written; the earlier ones are as they were."""


class Checkpoints(StepFolders):
    """The checkpoints of one run folder, written and read by Orbax.

    All processes of a run make the same calls. The constructor raises ValueError where the
    folder's path is no text.
    """

    def __init__(self, folder: str | Path, *, keep: int = 2, read_only: bool = False) -> None:
        refuse_odd_path(folder)
        hush()  # Orbax reports each save at INFO and failures with tracebacks
        super().__init__(folder, keep=keep, writes=not read_only and processes.is_main())
        self._files = ocp.AsyncCheckpointer(ocp.CompositeCheckpointHandler())
        self._restored: int | None = None  # the step that this session goes on from
        self._saving: int | None = None
        self._place = self.folder
        self._sealing: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(self, state: TrainState, progress: Progress, fingerprint: Mapping[str, Any]) -> None:
        """Start saving; the files are written while training goes on.

        The step that was restored is replaced: until the new one is whole, the old one counts.

        Raises:
          SaveError: this or the last one could not be saved.
        """
        self.wait()
        self.prune()
        step = self._saving = int(state.step)
        weights, rest = jax.tree.map(_once, _divided(state, state.published))
        again = step == self._restored
        place = self._place = self._again(step) if again else self.path_of(step)
        self._make_way(place, step)
        try:
            self._files.save(
                place,
                args=ocp.args.Composite(
                    **{
                        PARTS[0]: ocp.args.StandardSave(weights),
                        PARTS[1]: ocp.args.StandardSave(rest),
                    }
                ),
                force=True,
            )
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
            if step is not None and not manifest.is_sealed(self._place):
                shutil.rmtree(self._place, ignore_errors=True)
        return SaveError(f"cannot save checkpoint {step} in {self.folder}: {_reason(error)}")

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state at `step`, placed as `like` is, whatever the devices that saved it.

        Raises:
          ValueError: no such checkpoint, or a damaged one.
        """
        self.verify(step)
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        wanted = _divided(abstract, abstract.params)
        weights, rest = self._parts(step)
        self._restored = step
        loaded = self._files.restore(
            self.path_of(step),
            args=ocp.args.Composite(
                **{
                    weights: ocp.args.StandardRestore(wanted[0]),
                    rest: ocp.args.StandardRestore(wanted[1]),
                }
            ),
        )
        return _joined(loaded[weights], loaded[rest], averaged=like.average is not None)

    def saved_shape(self, step: int, *names: str) -> tuple[int, ...]:
        """Of the array at these names in what training needs beside the weights."""
        folder = self.path_of(step) / self._parts(step)[1]
        with ocp.StandardCheckpointer() as reader:
            leaf: Any = reader.metadata(folder).item_metadata.tree
        for name in names:
            leaf = leaf[name]
        return tuple(leaf.shape)

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
        return dict(self._files.restore(self.path_of(step), args=args)[weights])

    def _parts(self, step: int) -> tuple[str, str]:
        return FORMERLY if (self.path_of(step) / FORMERLY[0]).is_dir() else PARTS

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


def _once(array: Any) -> Any:
    """A small array that is whole on every device, as the first of them holds it.

    Of such an array Orbax has each device send a slice, which a program of its own cuts: worth its
    while for a large one, but dozens of programs to compile and thousands of calls for all biases.
    """
    one = isinstance(array, jax.Array) and array.is_fully_addressable and array.is_fully_replicated
    return array.addressable_data(0) if one and array.nbytes < SMALL else array


def _divided(state: TrainState, published: Any) -> tuple[Any, dict[str, Any]]:
    """The two PARTS of a checkpoint: the weights to publish, and what training needs beside."""
    rest = {"step": state.step, "opt_state": state.opt_state}
    if state.average is not None:
        kept = {name: value for name, value in state.average.items() if name != "mean"}
        rest |= {"params": state.params, **({"average": kept} if kept else {})}
    return published, rest


def _joined(published: Any, rest: Mapping[str, Any], *, averaged: bool) -> TrainState:
    """The state of two PARTS."""
    if not averaged:
        return TrainState(rest["step"], published, rest["opt_state"])
    average = {"mean": published, **rest.get("average", {})}
    return TrainState(rest["step"], rest["params"], rest["opt_state"], average)


def _reason(error: BaseException) -> str:
    """What the system said, out of what Orbax and TensorStore wrap around it."""
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
    return (str(error).splitlines() or [type(error).__name__])[0]
