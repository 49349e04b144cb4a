"""Models of other sizes for speed benchmarks: random weights, another model's tokenizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxner.benchmark.choices import SIZES
from flaxner.inference.classifier import load_classifier
from flaxner.inference.saving import save_classifier
from flaxner.models.encoders import ENCODERS
from flaxner.models.network import Model
from flaxner.models.scratch import SCRATCH
from flaxner.training.preparation import Prepared

SEED = 0
MOSTLY_OUTSIDE = 2.0  # added to the first label's logit: entities are few, as in real answers


def write_random(folder: Path, model: str, sizes: str) -> Path:
    """Write a BERT of these sizes with random weights.

    Args:
      folder: where to write it; it must not exist.
      model: a BERT that provides the tokenizer, labels and other settings.
      sizes: a name in `choices.SIZES`.

    Raises:
      ValueError: the model cannot be read, or is not a BERT.
    """
    classifier = load_classifier(model)
    if classifier.model.config.model_type != "bert":
        kind = classifier.model.encoder.title
        raise ValueError(f"--sizes needs a BERT as --model: {model} is a {kind}")
    fields = {**(classifier.fields or {}), **SIZES[sizes], "dtype": "float32"}
    network = Model.from_fields(fields, len(classifier.facts.labels))
    params = dict(network.init(SEED))
    params["classifier/bias"] = params["classifier/bias"].at[0].add(MOSTLY_OUTSIDE)
    whole = dataclasses.replace(
        classifier,
        model=network,
        params=params,
        fields=fields,
        folder=None,
        limit=network.config.positions,
    )
    save_classifier(folder, whole)
    return folder


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


def resized(prepared: Prepared, name: str) -> Prepared:
    """Return a run of `tiny_of(name)` with random weights in the well-known model's sizes.

    The vocabulary is as large too, although a small corpus does not yield as large a tokenizer.
    """
    before = prepared.model.config
    fields = {**prepared.fields, **_known(before.model_type)[name]}
    config = type(before).from_hf(fields, before.num_labels)
    model = dataclasses.replace(prepared.model, config=config)
    return dataclasses.replace(prepared, model=model, params=model.init(prepared.config.seed))
