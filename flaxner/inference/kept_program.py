"""Traced programs of the JAX engine, kept on disk so that later processes need not trace.

JAX's own cache holds what XLA compiled, but a lookup requires tracing first, which takes a third of
a second for MiniLM. This one holds `jax.export`'s bytes, StableHLO in a flatbuffer; JAX's own
serialised executables are pickles, which are never read here.
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
KIND = "programs"  # the cache folder of the programs
MOST_BYTES = 256 << 20  # for all programs; the least recently used are deleted first
LIBRARIES = ("jax", "jaxlib", "flax")  # whose versions affect the traced program
# JAX settings that affect a trace, in addition to the classifier's own.
SETTINGS = ("jax_enable_x64", "jax_default_matmul_precision", "jax_numpy_dtype_promotion")

logger = logging.getLogger("flaxner")


def kept_forward(classifier: Classifier, devices: Sequence[jax.Device]) -> Callable[..., jax.Array]:
    """Return the forward pass of a classifier, which is traced only if no program is kept.

    Programs are kept for a single CPU only: those for several devices or accelerators may contain
    device-specific kernels, which `jax.export` does not promise to read again.

    Args:
      classifier: the model.
      devices: the devices it will run on.
    """
    first, *others = devices
    place = kept.cache_folder(KIND)
    can_be_written = importlib.util.find_spec("flatbuffers") is not None
    if others or first.platform != "cpu" or place is None or not can_be_written:
        return classifier.forward
    try:
        return _Kept(classifier, place)
    except OSError as error:  # flaxner's own sources cannot be read
        logger.info("no program is kept: cannot read %s (%s)", error.filename, error.strerror)
        return classifier.forward


class _Kept:
    """A forward pass that, when traced, looks up the program for the given shapes."""

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
        except Exception as error:  # MLIR and flatbuffers raise all kinds of errors
            logger.info("tracing the forward pass again; its program cannot be kept: %s", error)
            return self._classifier.forward(params, *inputs)
        return program.call(params, *inputs)

    def _find(self, key: str, params: Any) -> jax.export.Exported | None:
        folder = kept.find(self._place, key)
        if folder is None:
            return None
        program = jax.export.deserialize(bytearray((folder / PROGRAM).read_bytes()))
        self._check(program, params, folder / PROGRAM)
        logger.info("using the traced forward pass kept in %s", folder)
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
        except OSError as error:  # a full disk, or a folder that belongs to another user
            reason = error.strerror or str(error)
            logger.info("a traced program is not kept: cannot write %s (%s)", self._place, reason)
        return program

    def _check(self, program: jax.export.Exported, params: Any, path: Path) -> None:
        check_program(program, params, len(self._classifier.facts.labels), path)


def _shape(array: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype)


@functools.cache
def _sources() -> str:
    """Return a digest of flaxner's own code, which a traced program depends on."""
    digest = hashlib.sha256()
    for path in sorted(Path(flaxner.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
