"""A pipeline as a StableHLO artefact: the forward pass, weights, tokenizer and labels in a folder.

Loading it takes the folder, JAX and a tokenizer, but neither the model's definition nor its
config.json. It contains no pickles.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from flaxner.inference.exported_checks import check_program
from flaxner.inference.exports import PROGRAMS, WEIGHTS
from flaxner.models.tensors import read_tensor_file, write_tensors

if TYPE_CHECKING:
    from flaxner.inference.classifier import Classifier
    from flaxner.models.network import Model

PROGRAM = PROGRAMS["jax"]
WEIGHT_FORMATS = ("float32", "bfloat16", "int8")
PLATFORMS = ("cpu", "cuda", "tpu")
SCALE = "/scale_of_int8"
Params = dict[str, Any]


class Artefact(NamedTuple):
    """The contents of a folder exported for JAX.

    Attributes:
      forward: (params, input_ids, segment_ids, position_ids) -> logits.
      params: path -> stored array.
    """

    forward: Callable[..., jax.Array]
    params: Params


def make_artefact(classifier: Classifier, weights: str) -> Callable[[Path], None]:
    """Return a function that writes a classifier's program and weights into a folder.

    Args:
      classifier: the model to write.
      weights: format of the weights, "float32", "bfloat16" or "int8" (matrices with one float32
        scale per output; the arithmetic stays float32).

    Raises:
      ValueError: unknown format.
    """
    if weights not in WEIGHT_FORMATS:
        raise ValueError(f"weights must be one of {', '.join(WEIGHT_FORMATS)}: got {weights!r}")
    stored = compress(classifier.params, weights)
    program = _lower(classifier.model, stored)

    def fill(draft: Path) -> None:
        (draft / PROGRAM).write_bytes(program)
        write_tensors(draft / WEIGHTS, stored)

    return fill


def read_artefact(path: Path, labels: int) -> Artefact:
    """Read a folder with a JAX program, which `exports.read_about` has checked.

    Args:
      path: the folder.
      labels: width of the logits.

    Raises:
      ValueError: a damaged program, or one that does more than a classifier's.
    """
    _require_flatbuffers()
    try:
        program = jax.export.deserialize(bytearray((path / PROGRAM).read_bytes()))
    except OSError as error:
        raise ValueError(f"{path} is not an exported pipeline: {error}") from error
    except Exception as error:  # flatbuffers and MLIR raise all kinds of errors on damaged files
        raise ValueError(f"{path / PROGRAM} is not a complete jax.export program") from error
    params = read_tensor_file(path / WEIGHTS)
    check_program(program, params, labels, path / PROGRAM)
    return Artefact(program.call, params)


def _require_flatbuffers() -> None:
    if importlib.util.find_spec("flatbuffers") is None:
        raise ValueError("exports need the package flatbuffers: pip install 'flaxner[export]'")


def compress(params: Mapping[str, Any], weights: str) -> Params:
    """Convert parameters to the format they are stored in.

    int8: matrices only, symmetric, with one scale per output of a kernel or row of a table.
    """
    stored: Params = {}
    for path, value in params.items():
        array = np.asarray(value)
        if weights == "bfloat16":
            stored[path] = array.astype(jnp.bfloat16)
        elif weights == "int8" and array.ndim == 2 and not path.startswith("classifier"):
            axis = 1 if path.endswith("embedding") else 0
            scale = np.maximum(np.abs(array).max(axis=axis, keepdims=True) / 127, 1e-12)
            stored[path] = np.rint(array / scale).astype(np.int8)
            stored[path + SCALE] = scale.astype(np.float32)
        else:
            stored[path] = array
    return stored


def restore(stored: Mapping[str, jax.Array]) -> Params:
    """Convert stored parameters back to float32, as the model expects them."""
    return {
        path: value.astype(jnp.float32) * stored.get(path + SCALE, jnp.float32(1))
        if value.dtype == jnp.int8
        else value.astype(jnp.float32)
        for path, value in stored.items()
        if not path.endswith(SCALE)
    }


def _lower(model: Model, stored: Params) -> bytes:
    """Lower the forward pass to StableHLO, for any number of rows of any length."""

    def forward(stored: Params, *inputs: jax.Array) -> jax.Array:
        return model.apply(restore(stored), *inputs)

    rows = jax.ShapeDtypeStruct(jax.export.symbolic_shape("rows, length"), jnp.int32)
    shapes = {path: jax.ShapeDtypeStruct(a.shape, a.dtype) for path, a in stored.items()}
    exported = jax.export.export(jax.jit(forward), platforms=PLATFORMS)(shapes, rows, rows, rows)
    _require_flatbuffers()
    return bytes(exported.serialize())
