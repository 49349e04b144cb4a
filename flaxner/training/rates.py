"""The learning rate of each part of a model."""

from __future__ import annotations

import re

from flaxner.config.train import TrainConfig
from flaxner.models import crf
from flaxner.models.network import Model, Network

LAYER = re.compile(r"layers/(\d+)/")
BELOW = ("embeddings", "projection/", "relative")  # what the lowest layer, or every layer, reads


def peak_rates(config: TrainConfig, model: Network) -> dict[str, float]:
    """path -> peak of the rate, of the parameters that have not `learning_rate`.

    The head has its own. Layer i of N has learning_rate * layer_decay ** (N - 1 - i), so that the
    top one has it whole, the embeddings and what all layers share that of a layer below them all
    (Howard and Ruder 2018; Clark et al. 2020). The scores of a CRF have their own.
    """
    if not isinstance(model, Model):  # a head over fixed vectors has no parts
        return {}
    peaks = {}
    names = model.encoder.names
    head = names.head + names.absent_in_encoder
    layers = model.config.num_hidden_layers
    for path in model.shapes:
        peak: float = config.learning_rate
        layer = LAYER.match(path)
        if path.startswith(crf.PREFIX):
            peak = config.crf_learning_rate
        elif path.startswith(head):
            peak = peak if config.head_learning_rate is None else config.head_learning_rate
        elif layer or path.startswith(BELOW):
            above = layers - 1 - int(layer[1]) if layer else layers
            peak *= config.layer_decay**above
        if peak != config.learning_rate:
            peaks[path] = peak
    return peaks
