"""Loads models from a folder or the Hub."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from flaxner import hub
from flaxner.models import checks, crf
from flaxner.models import tensors as weights_lib
from flaxner.models.config_json import read_config
from flaxner.models.encoders import encoder_of
from flaxner.models.layers.compute import Compute
from flaxner.models.network import Model, Params


class Pretrained(NamedTuple):
    """A model loaded from a Hub folder.

    Attributes:
      model: the static definition.
      params: path -> float32 array.
      fields: the content of config.json.
      fresh: PyTorch names of the weights that the folder lacks, initialised from the seed.
      folder: where the model was loaded from.
    """

    model: Model
    params: Params
    fields: dict[str, Any]
    fresh: list[str]
    folder: Path


def load_pretrained(
    source: str | Path,
    *,
    num_labels: int | None = None,
    new_head: bool | None = False,
    seed: int = 0,
    compute: Compute | None = None,
    revision: str | None = None,
    with_crf: bool | None = None,
) -> Pretrained:
    """Load a model from a folder or the Hub.

    Args:
      source: folder or Hub name.
      num_labels: width of the head (default: as in config.json).
      new_head: ignore the folder's classifier and initialise a new one from the seed; None: if it
        is not `num_labels` wide.
      seed: initialises head weights that the folder lacks.
      compute: dtype and layout of the computation.
      revision: branch, tag or commit on the Hub.
      with_crf: whether the model has CRF scores (default: as in config.json). If the folder has
        none, or the head is new, the scores are 0.

    Raises:
      ValueError: the model is missing, unsupported or damaged, or its weights do not fit.
    """
    folder = hub.fetch_model(source, revision=revision)
    fields = read_config(folder)
    tensors = weights_lib.read_tensors(folder)
    encoder = encoder_of(fields["model_type"], str(source))
    shapes = [tensor.shape for tensor in tensors.values()]
    checks.check_sizes(encoder.config, shapes, fields, str(source))
    model = Model.from_fields(fields, num_labels, compute, str(source))
    names = model.encoder.names
    heads = tuple(rule.theirs for rule in model.rules if rule.ours.startswith(names.head))
    if new_head is None:
        widths = {tensors[name].shape[:1] for name in heads if name in tensors}
        new_head = not widths <= {(model.config.num_labels,)}
    has_scores = model.crf and not new_head
    model = dataclasses.replace(model, crf=model.crf if with_crf is None else with_crf)
    if new_head:
        tensors = {name: tensor for name, tensor in tensors.items() if name not in heads}
    params = weights_lib.from_hf(
        tensors,
        model.rules,
        crf.without({path: leaf.shape for path, leaf in model.shapes.items()}),
        source=str(source),
        prefix=names.prefix,
        ignored=names.ignored,
        optional=names.head + names.absent_in_encoder,
    )
    theirs = {rule.ours: rule.theirs for rule in model.rules}
    absent = sorted(set(crf.without(model.shapes)) - set(params))
    if absent:
        drawn = dataclasses.replace(model, compute=Compute()).init_some(seed, absent)
        params |= {path: np.asarray(value) for path, value in drawn.items()}
    if model.crf:
        labels = model.config.num_labels
        params |= crf.read(folder, labels).params() if has_scores else crf.zeros(labels)
    return Pretrained(model, params, fields, [theirs[path] for path in absent], folder)
