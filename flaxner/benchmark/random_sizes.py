"""Models of other sizes for benchmarks of speed: random weights, the tokenizer of another model."""

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
MOSTLY_OUTSIDE = 2.0  # added to the score of the first label, so that answers are few, as real ones


def write_random(folder: Path, model: str, sizes: str) -> Path:
    """Write a BERT of these sizes with random weights.

    Args:
      folder: where to; it must not exist.
      model: a BERT whose tokenizer, labels and other settings it has.
      sizes: one of `choices.SIZES`.

    Raises:
      ValueError: the model cannot be read, or is no BERT.
    """
    classifier = load_classifier(model)
    if classifier.model.config.model_type != "bert":
        kind = classifier.model.encoder.title
        raise ValueError(f"--sizes are those of BERT, and {model} is a {kind}: name a BERT")
    fields = {**(classifier.fields or {}), **SIZES[sizes], "dtype": "float32"}
    network = Model.from_fields(fields, len(classifier.labels))
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
    """The sizes of a family's well-known models, by their names without owner and with it."""
    sizes = ENCODERS[kind].sizes
    return {name.split("/")[-1]: fields for name, fields in sizes.items()} | dict(sizes)


def tiny_of(name: str) -> str:
    """The model in `SCRATCH` that is of the same family as a well-known one.

    Raises:
      ValueError: the sizes of that model are not built in.
    """
    for model, (kind, _) in SCRATCH.items():
        if name in _known(kind):
            return model
    names = [each for kind in ENCODERS for each in _known(kind) if "/" not in each]
    raise ValueError(f"the sizes of {name!r} are not built in; known: {', '.join(names)}")


def resized(prepared: Prepared, name: str) -> Prepared:
    """A run of `tiny_of(name)` that begins with random weights of the well-known one's sizes.

    The vocabulary is as large, too, though the tokenizer uses a part of it alone.
    """
    config = prepared.model.config
    config = dataclasses.replace(config, **_known(config.model_type)[name])
    model = dataclasses.replace(prepared.model, config=config)
    return dataclasses.replace(prepared, model=model, params=model.init(prepared.config.seed))
