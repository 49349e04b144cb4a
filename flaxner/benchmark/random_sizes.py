"""A model of another size for a benchmark of speed: random weights, a real model's tokenizer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from flaxner.benchmark.choices import SIZES
from flaxner.inference.classifier import load_classifier
from flaxner.inference.saving import save_classifier
from flaxner.models.network import Model

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
