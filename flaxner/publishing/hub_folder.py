"""A trained model -> a folder that `transformers` (PyTorch) loads, without torch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from flaxner.data.tags import LabelScheme
from flaxner.data.tokenizer import length_limit
from flaxner.files import write_folder, write_json
from flaxner.models import tensors as weights_lib
from flaxner.models.config_json import hub_config, our_block
from flaxner.models.network import Model

DTYPES = ("float32", "bfloat16")  # of the weights in a Hub folder


def save_model_files(folder: Path, tokenizer: Any, config: Mapping[str, Any]) -> None:
    """Tokenizer files and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(str(folder))
    write_json(folder / "config.json", config)


def export_folder(
    folder: str | Path,
    model: Model,
    params: Mapping[str, Any],
    scheme: LabelScheme,
    tokenizer: Any,
    *,
    fields: Mapping[str, Any] | None = None,
    card: str | None = None,
    dtype: str = "float32",
    max_length: int | None = None,
    more: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """Write a Hub folder: config.json, model.safetensors, tokenizer files, README.md.

    The folder exists whole or not at all; an older one of that name is replaced.

    Args:
      folder: where to.
      model: static definition.
      params: path -> array.
      scheme: label table.
      tokenizer: of `transformers`.
      fields: config.json of the model that training began with.
      card: text of the model card, if any.
      dtype: of the weights, one of DTYPES.
      max_length: tokens of a window in training; what `fields` say of it if None.
      more: writes further files into the folder before it takes its place.

    Raises:
      ValueError: windows of training that are longer than the model's positions.
    """
    folder = Path(folder)
    host = {path: np.asarray(value).astype(jnp.dtype(dtype)) for path, value in params.items()}
    tensors = weights_lib.to_hf(host, model.rules)
    config = hub_config(model, scheme, fields or {}, dtype, max_length)
    published = copy.copy(tokenizer)  # the caller's stays as it is
    published.model_max_length = _published_length(tokenizer, model, our_block(config, str(folder)))

    def fill(draft: Path) -> None:
        save_model_files(draft, published, config)
        weights_lib.write_tensors(draft / weights_lib.SAFETENSORS, tensors)
        if card is not None:
            (draft / "README.md").write_text(card, "utf-8")
        more(draft)

    write_folder(folder, fill)
    return folder


def _published_length(tokenizer: Any, model: Model, ours: Mapping[str, Any]) -> int:
    """The published tokenizer's model_max_length: no less than the windows of training.

    Programs that cut texts cut them there.
    """
    positions = model.config.positions
    window = ours.get("max_length", 0)
    if window > positions:
        raise ValueError(f"max_length must be at most the model's {positions} positions: {window}")
    return max(length_limit(tokenizer, positions), window)
