"""RoBERTa's weight names: ours and PyTorch's, side by side."""

from __future__ import annotations

from flaxner.models.layers.post_norm_weights import leftovers, post_norm_rules
from flaxner.models.roberta.config import RobertaConfig
from flaxner.models.tensors import Rule, WeightNames, expand

PREFIX = "roberta."  # also for XLM-R and CamemBERT


def rules(config: RobertaConfig) -> list[Rule]:
    """Return the table, expanded for every layer."""
    return expand(post_norm_rules(PREFIX), config.num_hidden_layers)


NAMES = WeightNames(
    rules,
    prefix=PREFIX,
    ignored=("lm_head.", "classifier.dense.", "classifier.out_proj.", *leftovers(PREFIX)),
    head=("classifier/",),
)
