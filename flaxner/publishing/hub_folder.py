"""A trained model -> a folder that `transformers` (PyTorch) can load, written without torch."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from flaxner.data.labels import LabelScheme
from flaxner.data.tokenizer import length_limit, save_tokenizer
from flaxner.files import write_folder, write_json
from flaxner.files.records import read_record
from flaxner.models import crf
from flaxner.models import tensors as weights_lib
from flaxner.models.config_json import hub_config, our_block
from flaxner.models.network import Model
from flaxner.publishing.upload import REPLACED, is_among
from flaxner.runs.kinds import HUB

DTYPES = ("float32", "bfloat16")  # of the weights in a Hub folder


def save_model_files(folder: Path, tokenizer: Any, config: Mapping[str, Any]) -> None:
    """Write the tokenizer files and config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tokenizer(tokenizer, folder)
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
    context: str | None = None,
    temperature: float | None = None,
    tagging: str | None = None,
    more: Callable[[Path], None] = lambda folder: None,
    new_card: bool = False,
    say: Callable[[str], object] = warnings.warn,
) -> Path:
    """Write a Hub folder: config.json, model.safetensors, tokenizer files, README.md.

    If the model has a CRF, its scores go into a separate file of flaxner's own.

    The folder is written completely or not at all. In an existing folder, files that flaxner wrote
    are replaced, as are files in the history of a cloned Hub repository; everything else stays.

    Args:
      folder: folder to write.
      model: static definition: `classifier.model` of a pipeline. To save an NNX module, use
        `pipeline("ner", module, tokenizer=tokenizer, id2label=names).save_pretrained(folder)`.
      params: path -> array, as in `classifier.params` of a pipeline.
      scheme: label table.
      tokenizer: a `transformers` tokenizer.
      fields: config.json of the model that was fine-tuned.
      card: text of the model card, if any.
      dtype: dtype of the weights, one of DTYPES.
      max_length: window length in training, in tokens; taken from `fields` if None.
      context: context of a word in training, see `hub_config`; taken from `fields` if None.
      temperature: temperature that calibrates the scores of these weights; None if unknown.
      tagging: scheme of the labels, see `hub_config`.
      more: called to write further files into the folder before it is moved into place.
      new_card: replace a README.md that somebody edited; it is kept otherwise.
      say: called with one sentence for each thing in the folder that stays.

    Raises:
      ValueError: the training windows are longer than the model's positions; or files that
        flaxner did not write, or that were changed, are in the way (the message names them).
    """
    folder = Path(folder)
    host = {
        path: np.asarray(value).astype(jnp.dtype(dtype))
        for path, value in crf.without(params).items()
    }
    tensors = weights_lib.to_hf(host, model.rules)
    known = (dtype, max_length, context, temperature, tagging)
    config = hub_config(model, scheme, fields or {}, *known)
    published = copy.copy(tokenizer)  # the caller's stays as it is
    published.model_max_length = _published_length(tokenizer, model, our_block(config, str(folder)))

    def fill(draft: Path) -> None:
        save_model_files(draft, published, config)
        weights_lib.write_tensors(draft / weights_lib.SAFETENSORS, tensors)
        if model.crf:
            crf.write(draft, crf.Scores.of(params))
        if card is not None:
            (draft / "README.md").write_text(card, "utf-8")
        more(draft)

    for text in write_folder(folder, HUB, fill, new_card=new_card):
        say(text)
    contradicting = contradictions(folder)
    if contradicting:
        say(f"{folder} also holds {', '.join(contradicting)}, which may belong to another model")
    return folder


def _published_length(tokenizer: Any, model: Model, ours: Mapping[str, Any]) -> int:
    """Return the published tokenizer's model_max_length: at least the training window length.

    Programs that truncate texts truncate them there.
    """
    window = ours.get("max_length", 0)
    model.config.check_length(window)
    return max(length_limit(tokenizer, model.config.positions), window)


def contradictions(folder: Path) -> list[str]:
    """Return weight files that flaxner did not write; other programs may prefer to load them."""
    record = read_record(folder)
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(
        name
        for name in files
        if not name.startswith(".")
        and is_among(name, REPLACED)
        and (record is None or name not in record.files)
    )
