"""Traced programs of the JAX engine, kept on disk: a later process has no model to trace.

JAX keeps what XLA compiled, and finds it under what it was compiled from, which a process must
trace first: a third of a second for MiniLM. Kept are `jax.export`'s bytes, StableHLO in a
flatbuffer; JAX's own serialised executables are pickles, which are not read here.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.export

import flaxner
from flaxner.files import kept
from flaxner.inference.exported_checks import check_program

if TYPE_CHECKING:
    from flaxner.inference.classifier import Classifier

PROGRAM = "forward.stablehlo"
KIND = "programs"  # the folder of kept programs
MOST_BYTES = 256 << 20  # of all of them; the longest unused go first
LIBRARIES = ("jax", "jaxlib", "flax")  # in which the program is written and traced
# Settings of JAX that a trace depends on, beside those of the classifier.
SETTINGS = ("jax_enable_x64", "jax_default_matmul_precision", "jax_numpy_dtype_promotion")

logger = logging.getLogger("flaxner")


def kept_forward(
    classifier: Classifier, devices: Sequence[jax.Device] | None
) -> Callable[..., jax.Array]:
    """The forward pass of a classifier, traced from its definition only where no program is kept.

    Programs are kept for one CPU: what several devices and accelerators run may hold kernels of
    theirs, which `jax.export` does not promise to read again.

    Args:
      classifier: the model.
      devices: where it will be computed; all devices if None.
    """
    first, *others = jax.devices() if devices is None else devices
    place = kept.cache_folder(KIND)
    can_be_written = importlib.util.find_spec("flatbuffers") is not None
    if others or first.platform != "cpu" or place is None or not can_be_written:
        return classifier.forward
    try:
        return _Kept(classifier, place)
    except OSError as error:  # its own sources cannot be read
        logger.info("no program is kept: cannot read %s (%s)", error.filename, error.strerror)
        return classifier.forward


class _Kept:
    """A forward pass that is looked up, for the shapes it is given, while it is traced."""

    def __init__(self, classifier: Classifier, place: Path) -> None:
        self._classifier, self._place = classifier, place
        self._facts = (
            *(flaxner.__version__, _sources()),
            *map(importlib.metadata.version, LIBRARIES),
            *(classifier.model, *(jax.config.values.get(name) for name in SETTINGS)),
        )

    def __call__(self, params: Any, *inputs: jax.Array) -> jax.Array:
        every, *given = jax.tree.map(_shape, (params, *inputs))
        key = kept.key_of((*self._facts, sorted(every.items()), given))
        try:
            program = self._find(key, every) or self._make(key, every, given)
        except Exception as error:  # whatever MLIR and flatbuffers raise of a damaged or odd one
            logger.info(
                "the forward pass is traced anew, for its program cannot be kept: %s", error
            )
            return self._classifier.forward(params, *inputs)
        return program.call(params, *inputs)

    def _find(self, key: str, params: Any) -> jax.export.Exported | None:
        folder = kept.find(self._place, key)
        if folder is None:
            return None
        program = jax.export.deserialize(bytearray((folder / PROGRAM).read_bytes()))
        self._check(program, params, folder / PROGRAM)
        logger.info("the forward pass was traced before: its program is in %s", folder)
        return program

    def _make(self, key: str, params: Any, given: list[Any]) -> jax.export.Exported:
        forward = jax.jit(self._classifier.forward)
        program = jax.export.export(forward, platforms=["cpu"])(params, *given)
        self._check(program, params, self._place / key)
        content = bytes(program.serialize())

        def fill(draft: Path) -> None:
            (draft / PROGRAM).write_bytes(content)

        try:
            kept.keep(self._place, key, fill, MOST_BYTES)
        except OSError as error:  # a full disk, a folder of another's
            reason = error.strerror or str(error)
            logger.info("a traced program is not kept: cannot write %s (%s)", self._place, reason)
        return program

    def _check(self, program: jax.export.Exported, params: Any, path: Path) -> None:
        check_program(program, params, len(self._classifier.labels), path)


def _shape(array: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


@functools.cache
def _sources() -> str:
    """A digest of flaxner's own code: a program is of the model as it was written."""
    digest = hashlib.sha256()
    for path in sorted(Path(flaxner.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
