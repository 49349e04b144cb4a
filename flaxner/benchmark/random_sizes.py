"""Models for speed benchmarks: random weights, and a tokenizer trained on the corpus."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flaxner.config.train import TrainConfig
from flaxner.models.encoders import ENCODERS
from flaxner.models.scratch import SCRATCH
from flaxner.publishing.hub_folder import export_folder
from flaxner.training.preparation import Prepared, prepare

# For answers like real ones: weights so large that labels differ from word to word (with BERT's own
# 0.02 they hardly do), and a bonus for O, so that one word in seven is an entity.
SPREAD, MOSTLY_OUTSIDE = 0.05, 2.0


def write_random(folder: Path, name: str, config: TrainConfig) -> Path:
    """Write a model with random weights in a well-known one's sizes.

    Args:
      folder: where to write it; it must not exist.
      name: of the well-known model.
      config: the corpus that provides labels and tokenizer, with `tiny_of(name)` as its model.

    Raises:
      ValueError: the corpus cannot be read.
    """
    made = resized(prepare(config, vocabulary_of(name)), name, initializer_range=SPREAD)
    params = dict(made.params)
    bias = np.array(params["classifier/bias"])
    bias[0] += MOSTLY_OUTSIDE  # the first label is O
    params["classifier/bias"] = bias
    return export_folder(folder, made.model, params, made.scheme, made.tokenizer)


def _known(kind: str) -> dict[str, Mapping[str, Any]]:
    """Sizes of a family's well-known models, by name without and with the owner."""
    sizes = ENCODERS[kind].sizes
    return {name.split("/")[-1]: fields for name, fields in sizes.items()} | dict(sizes)


def tiny_of(name: str) -> str:
    """Return the model in `SCRATCH` of the same family as a well-known one.

    Raises:
      ValueError: the sizes of that model are not built in.
    """
    for model, (kind, _) in SCRATCH.items():
        if name in _known(kind):
            return model
    names = [each for kind in ENCODERS for each in _known(kind) if "/" not in each]
    raise ValueError(f"the sizes of {name!r} are not built in; choose from: {', '.join(names)}")


def vocabulary_of(name: str) -> int:
    """Return the number of tokens in a well-known model's vocabulary, for a tokenizer to have.

    How many of them a corpus reads decides how much of the word table is trained.
    """
    kind = SCRATCH[tiny_of(name)][0]
    return ENCODERS[kind].config.from_hf(dict(_known(kind)[name]), 2).vocab_size


def resized(prepared: Prepared, name: str, **changes: Any) -> Prepared:
    """Return a run of `tiny_of(name)` with random weights in the well-known model's sizes.

    The vocabulary is as large too, although a small corpus does not yield as large a tokenizer.

    Args:
      prepared: the run.
      name: of the well-known model.
      **changes: fields of config.json with other values.
    """
    before = prepared.model.config
    fields = {**prepared.fields, **_known(before.model_type)[name], **changes}
    config = type(before).from_hf(fields, before.num_labels)
    model = dataclasses.replace(prepared.model, config=config)
    return dataclasses.replace(prepared, model=model, params=model.init(prepared.config.seed))
