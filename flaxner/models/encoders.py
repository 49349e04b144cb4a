"""The table of encoders: model_type of config.json -> settings, network, weight names."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

from flaxner.models.bert import weights as bert_weights
from flaxner.models.bert.config import BertConfig
from flaxner.models.bert.network import FlaxBertForTokenClassification


class Encoder(NamedTuple):
    """What makes an architecture: settings, network, weight names."""

    config: type[BertConfig]
    network: type[FlaxBertForTokenClassification]
    names: ModuleType


# model_type of config.json -> encoder.
ENCODERS = {"bert": Encoder(BertConfig, FlaxBertForTokenClassification, bert_weights)}
