"""Names of dtypes, as callers, torch and config.json write them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flaxner.models.checks import read_header

AUTO = "auto"  # the dtype of the model's file, the default of `transformers` 5
NAMES = {
    "float32": "float32",
    "float": "float32",
    "bfloat16": "bfloat16",
    "float16": "float16",
    "half": "float16",
}
# Names in safetensors files -> ours.
STORED = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float64"}


def dtype_name(given: Any) -> str:
    """Return the name of a dtype for the computation, or AUTO.

    Args:
      given: a name, or a dtype of torch, NumPy or JAX; None: float32.

    Raises:
      ValueError: models are not computed in this dtype.
    """
    if given is None:
        return "float32"
    name = str(given).removeprefix("torch.")
    if name not in NAMES and not isinstance(given, str):
        try:
            name = np.dtype(given).name
        except TypeError:
            name = str(given)
    if name != AUTO and name not in NAMES:
        raise ValueError(f"dtype must be one of {AUTO}, {', '.join(NAMES)}: got {given!r}")
    return NAMES.get(name, name)


def file_dtype(fields: Mapping[str, Any], folder: Path | None) -> str:
    """Return the dtype of a model's files, according to config.json or else the first weights.

    Args:
      fields: content of config.json.
      folder: the model's folder; None for a model in memory, which is float32.

    Raises:
      ValueError: models are not computed in this dtype, or a file is damaged.
    """
    said = fields.get("dtype") or fields.get("torch_dtype")
    if said is None:
        said = _stored(folder) if folder is not None else None
    try:
        name = dtype_name(said)
    except ValueError as error:
        raise ValueError(
            f"{folder} is stored in {said!r}, which models cannot be computed in: use "
            "dtype='float32'"
        ) from error
    return "float32" if name == AUTO else name


def _stored(folder: Path) -> str | None:
    """Return the dtype of the first float tensor in safetensors files; None if there is none."""
    for path in sorted(folder.glob("*.safetensors")):
        for kind, _ in read_header(path).values():
            if kind in STORED:
                return STORED[kind]
    return None
