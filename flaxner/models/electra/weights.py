"""ELECTRA's weight names: ours and PyTorch's, side by side."""

from __future__ import annotations

from flaxner.models.electra.config import ElectraConfig
from flaxner.models.layers.post_norm_weights import leftovers, post_norm_rules
from flaxner.models.tensors import Rule, WeightNames, expand

PREFIX = "electra."
PROJECTION = Rule.linear("projection", f"{PREFIX}embeddings_project")


def rules(config: ElectraConfig) -> list[Rule]:
    """Return the table, expanded for every layer."""
    projection = PROJECTION if config.projects else ()
    return expand((*post_norm_rules(PREFIX), *projection), config.num_hidden_layers)


NAMES = WeightNames(
    rules,
    prefix=PREFIX,
    ignored=(
        "discriminator_predictions.",
        "generator_predictions.",
        "generator_lm_head.",
        "classifier.dense.",
        "classifier.out_proj.",
        *leftovers(PREFIX),
    ),
    head=("classifier/",),
)
