"""BERT's weight names: ours and PyTorch's, side by side."""

from __future__ import annotations

from flaxner.models.bert.config import BertConfig
from flaxner.models.tensors import Rule, WeightNames, expand

# Ours -> PyTorch's, for every parameter; `{i}` counts the layers. A kernel is stored
# (in, out) here and (out, in) there.
_LAYER = "bert.encoder.layer.{i}"
WEIGHTS: tuple[Rule, ...] = (
    Rule("embeddings/word_embeddings/embedding", "bert.embeddings.word_embeddings.weight"),
    Rule("embeddings/position_embeddings/embedding", "bert.embeddings.position_embeddings.weight"),
    Rule(
        "embeddings/token_type_embeddings/embedding", "bert.embeddings.token_type_embeddings.weight"
    ),
    *Rule.norm("embeddings/norm", "bert.embeddings.LayerNorm"),
    *Rule.linear("layers/{i}/attention/query", f"{_LAYER}.attention.self.query"),
    *Rule.linear("layers/{i}/attention/key", f"{_LAYER}.attention.self.key"),
    *Rule.linear("layers/{i}/attention/value", f"{_LAYER}.attention.self.value"),
    *Rule.linear("layers/{i}/attention/output", f"{_LAYER}.attention.output.dense"),
    *Rule.norm("layers/{i}/attention_norm", f"{_LAYER}.attention.output.LayerNorm"),
    *Rule.linear("layers/{i}/intermediate", f"{_LAYER}.intermediate.dense"),
    *Rule.linear("layers/{i}/output", f"{_LAYER}.output.dense"),
    *Rule.norm("layers/{i}/output_norm", f"{_LAYER}.output.LayerNorm"),
    *Rule.linear("classifier", "classifier"),
)


def rules(config: BertConfig) -> list[Rule]:
    """The table, written out for every layer."""
    return expand(WEIGHTS, config.num_hidden_layers)


NAMES = WeightNames(
    rules,
    prefix="bert.",
    ignored=(
        "bert.pooler.",
        "pooler.",
        "cls.",
        "bert.embeddings.position_ids",
        "embeddings.position_ids",
    ),
    head=("classifier/",),
)
