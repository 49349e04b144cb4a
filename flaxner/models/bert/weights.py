"""BERT's weight names: ours and PyTorch's, side by side."""

from __future__ import annotations

from flaxner.models.bert.config import BertConfig
from flaxner.models.layers.post_norm_weights import leftovers, post_norm_rules
from flaxner.models.tensors import Rule, WeightNames, expand

PREFIX = "bert."


def rules(config: BertConfig) -> list[Rule]:
    """Return the table, expanded for every layer."""
    return expand(post_norm_rules(PREFIX), config.num_hidden_layers)


NAMES = WeightNames(
    rules, prefix=PREFIX, ignored=("cls.", *leftovers(PREFIX)), head=("classifier/",)
)
