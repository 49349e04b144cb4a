"""A pipeline as a StableHLO artefact: the forward pass, weights, tokenizer and labels in a folder.

Loading it needs the folder, JAX and a tokenizer; the model's definition and its config.json are
not read. Nothing in it is a pickle.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from flaxner.config.data import CONTEXTS
from flaxner.files import Kind, check_folder, read_json, write_folder, write_json
from flaxner.inference.exported_checks import (
    check_about,
    check_files,
    check_program,
    fingerprints,
)
from flaxner.models import crf
from flaxner.models.tensors import read_tensor_file, write_tensors
from flaxner.runs.paths import refuse_runs

if TYPE_CHECKING:
    from flaxner.inference.classifier import Classifier
    from flaxner.models.network import Model

PROGRAM, WEIGHTS, ABOUT = "forward.stablehlo", "weights.safetensors", "flaxner.json"
WEIGHT_FORMATS = ("float32", "bfloat16", "int8")
PLATFORMS = ("cpu", "cuda", "tpu")
SCALE = "/scale_of_int8"
VERSION, WITH_CRF = 1, 2  # an earlier flaxner refuses what it would decode without the CRF
Params = dict[str, Any]


def is_artefact(path: str | Path) -> bool:
    """Whether a folder was written by `write_artefact`."""
    return (Path(path) / ABOUT).is_file()


EXPORT = Kind("an exported pipeline", ABOUT, (ABOUT, PROGRAM, WEIGHTS), known=is_artefact)


class Artefact(NamedTuple):
    """What an exported folder holds.

    Attributes:
      forward: (params, input_ids, segment_ids, position_ids) -> logits.
      params: path -> stored array.
      labels: names of the labels.
      limit: tokens of the longest segment.
      scheme: of the labels; None: nothing tells.
      window: tokens of a window in training.
      scores: of a CRF, if it has one.
      context: of a word in training, "sentences" or "document".
      temperature: that calibrates the scores; None: it is not known.
    """

    forward: Callable[..., jax.Array]
    params: Params
    labels: tuple[str, ...]
    limit: int
    scheme: str | None
    window: int
    scores: crf.Scores | None = None
    context: str = CONTEXTS[0]
    temperature: float | None = None


def write_artefact(path: str | Path, classifier: Classifier, weights: str) -> Path:
    """Write a classifier as a folder for serving; it exists whole or not at all.

    Args:
      path: the folder; what flaxner wrote there is replaced, all else stays.
      classifier: what to write.
      weights: stored as "float32", "bfloat16" or "int8" (matrices with one float32 scale for
        each output; the arithmetic stays float32).

    Raises:
      ValueError: no such format, or a folder that is in use.
    """
    path = Path(path)
    check_artefact(path)
    if weights not in WEIGHT_FORMATS:
        raise ValueError(f"weights must be one of {', '.join(WEIGHT_FORMATS)}: got {weights!r}")
    stored = compress(classifier.params, weights)
    program = _lower(classifier.model, stored)
    about = {
        "version": VERSION if classifier.crf is None else WITH_CRF,
        "labels": list(classifier.labels),
        "limit": classifier.limit,
        "scheme": classifier.scheme,
        "window": classifier.window,
        "context": classifier.context,
        "temperature": classifier.temperature,
        "weights": weights,
        "platforms": list(PLATFORMS),
    }

    def fill(draft: Path) -> None:
        classifier.tokenizer.save_pretrained(str(draft))
        (draft / PROGRAM).write_bytes(program)
        write_tensors(draft / WEIGHTS, stored)
        if classifier.crf is not None:
            crf.write(draft, classifier.crf)
        write_json(draft / ABOUT, about | {"files": fingerprints(draft)})

    for text in write_folder(path, EXPORT, fill):
        warnings.warn(text, stacklevel=2)
    return path


def check_artefact(path: str | Path) -> None:
    """Refuse a folder where no export can be put.

    Raises:
      ValueError: it is in use, belongs to a run, or files that are not ours are in the way.
    """
    folder = Path(path)
    refuse_runs(folder)
    shown = folder.is_dir() and any(not p.name.startswith(".") for p in folder.iterdir())
    if shown and not is_artefact(folder):
        raise ValueError(f"{folder} is in use and no export of ours: name another folder")
    check_folder(folder, EXPORT)


def folder_bytes(path: str | Path) -> int:
    """Size of the files of a folder."""
    return sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())


def read_artefact(path: str | Path) -> Artefact:
    """Read a folder that `write_artefact` made.

    Raises:
      ValueError: no such folder, another version of the format, a file that is not the one that
        was written, or a program that does more than a classifier's.
    """
    path = Path(path)
    if not is_artefact(path):
        raise ValueError(f"{path} is no exported pipeline: it has no {ABOUT}")
    about = read_json(path / ABOUT)
    if about.get("version") not in (VERSION, WITH_CRF):
        known = f"{VERSION} and {WITH_CRF}"
        raise ValueError(f"{path} has format {about.get('version')!r}; this reads {known}")
    check_about(about, path / ABOUT)
    check_files(path, about.get("files", {}))  # version 0.1.0 wrote none
    _require_flatbuffers()
    try:
        program = jax.export.deserialize(bytearray((path / PROGRAM).read_bytes()))
    except OSError as error:
        raise ValueError(f"{path} is no exported pipeline: {error}") from error
    except Exception as error:  # flatbuffers and MLIR raise whatever the damage leads to
        raise ValueError(f"{path / PROGRAM} is no whole program of jax.export") from error
    params = read_tensor_file(path / WEIGHTS)
    labels, limit = tuple(about["labels"]), about["limit"]
    check_program(program, params, len(labels), path / PROGRAM)
    window = about.get("window", limit)
    scores = crf.read(path, len(labels)) if about["version"] == WITH_CRF else None
    context, heat = about.get("context", CONTEXTS[0]), about.get("temperature")
    scheme = about.get("scheme")
    return Artefact(program.call, params, labels, limit, scheme, window, scores, context, heat)


def _require_flatbuffers() -> None:
    if importlib.util.find_spec("flatbuffers") is None:
        raise ValueError("exports need the package flatbuffers: pip install 'flaxner[serving]'")


def compress(params: Mapping[str, Any], weights: str) -> Params:
    """Parameters as they are stored.

    int8: matrices only, symmetric, one scale for each output of a kernel or row of a table.
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
    """Parameters as the model takes them, float32."""
    return {
        path: value.astype(jnp.float32) * stored.get(path + SCALE, jnp.float32(1))
        if value.dtype == jnp.int8
        else value.astype(jnp.float32)
        for path, value in stored.items()
        if not path.endswith(SCALE)
    }


def _lower(model: Model, stored: Params) -> bytes:
    """The forward pass for any number of rows of any length, as StableHLO."""

    def forward(stored: Params, *inputs: jax.Array) -> jax.Array:
        return model.apply(restore(stored), *inputs)

    rows = jax.ShapeDtypeStruct(jax.export.symbolic_shape("rows, length"), jnp.int32)
    shapes = {path: jax.ShapeDtypeStruct(a.shape, a.dtype) for path, a in stored.items()}
    exported = jax.export.export(jax.jit(forward), platforms=PLATFORMS)(shapes, rows, rows, rows)
    _require_flatbuffers()
    return bytes(exported.serialize())
