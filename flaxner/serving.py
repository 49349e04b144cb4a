"""A pipeline as a StableHLO artefact: the forward pass, weights, tokenizer and labels in a folder.

Loading it needs the folder, JAX and a tokenizer; the model's definition and its config.json are
not read. Nothing in it is a pickle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from flaxner.alignment import load_tokenizer
from flaxner.classifier import use_compilation_cache
from flaxner.inference import Predictor
from flaxner.pipeline import NerPipeline
from flaxner.pipeline_options import Options
from flaxner.run_folder import write_folder, write_json
from flaxner.weights import read_tensor_file, write_tensors

if TYPE_CHECKING:
    from flaxner.models import Model

PROGRAM, WEIGHTS, ABOUT = "forward.stablehlo", "weights.safetensors", "flaxner.json"
FORMATS = ("float32", "bfloat16", "int8")
PLATFORMS = ("cpu", "cuda", "tpu")
SCALE = "/scale_of_int8"
VERSION = 1
Params = dict[str, Any]


def export(ner: NerPipeline, path: str | Path, *, weights: str = "float32") -> Path:
    """Write a pipeline as a folder for serving; it exists whole or not at all.

    Args:
      ner: a pipeline made from a model.
      path: the folder; an older export there is replaced, anything else is not.
      weights: stored as "float32", "bfloat16" or "int8" (matrices with one float32 scale for
        each output; the arithmetic stays float32).

    Raises:
      ValueError: no such format, no model to export, or a folder that is in use.
    """
    if weights not in FORMATS:
        raise ValueError(f"weights must be one of {', '.join(FORMATS)}: got {weights!r}")
    if ner.classifier is None:
        raise ValueError("this pipeline is an export itself: copy its folder")
    path = Path(path)
    if path.exists() and not (path / ABOUT).is_file():
        raise ValueError(f"{path} is in use and no export of ours: name another folder")
    stored = compress(ner.classifier.params, weights)
    program = _lower(ner.classifier.model, stored)
    about = {
        "version": VERSION,
        "labels": list(ner.labels),
        "limit": ner.predictor.limit,
        "weights": weights,
        "platforms": list(PLATFORMS),
    }

    def fill(draft: Path) -> None:
        ner.tokenizer.save_pretrained(str(draft))
        (draft / PROGRAM).write_bytes(program)
        write_tensors(draft / WEIGHTS, stored)
        write_json(draft / ABOUT, about)

    write_folder(path, fill)
    return path


def load_exported(path: str | Path, **options: Any) -> NerPipeline:
    """A pipeline from a folder that `NerPipeline.export` wrote; it runs on the first device.

    Args:
      path: the folder.
      **options: as for `pipeline`.

    Raises:
      ValueError: no such folder, a newer format, or options that do not exist.
    """
    path = Path(path)
    try:
        about = json.loads((path / ABOUT).read_text("utf-8"))
        program = (path / PROGRAM).read_bytes()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is no exported pipeline: {error}") from error
    if about.get("version") != VERSION:
        raise ValueError(f"{path} has format {about.get('version')!r}; this reads {VERSION}")
    use_compilation_cache()
    exported = jax.export.deserialize(bytearray(program))
    predictor = Predictor(
        exported.call,
        read_tensor_file(path / WEIGHTS),
        len(about["labels"]),
        about["limit"],
        jax.devices()[:1],
    )
    chosen = Options().changed(options)
    return NerPipeline(load_tokenizer(path), about["labels"], predictor, chosen)


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
    return bytes(exported.serialize())
