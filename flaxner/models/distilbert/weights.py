"""DistilBERT's weight names: ours and PyTorch's, side by side."""

from __future__ import annotations

from flaxner.models.distilbert.config import DistilBertConfig
from flaxner.models.layers.post_norm_weights import leftovers
from flaxner.models.tensors import Rule, WeightNames, expand

PREFIX = "distilbert."
# Our name -> PyTorch's, for every parameter; `{i}` is the layer's index. We store a kernel as
# (in, out), PyTorch as (out, in).
_THERE, _LAYER = f"{PREFIX}embeddings", f"{PREFIX}transformer.layer.{{i}}"
WEIGHTS: tuple[Rule, ...] = (
    Rule("embeddings/word_embeddings/embedding", f"{_THERE}.word_embeddings.weight"),
    Rule("embeddings/position_embeddings/embedding", f"{_THERE}.position_embeddings.weight"),
    *Rule.norm("embeddings/norm", f"{_THERE}.LayerNorm"),
    *Rule.linear("layers/{i}/attention/query", f"{_LAYER}.attention.q_lin"),
    *Rule.linear("layers/{i}/attention/key", f"{_LAYER}.attention.k_lin"),
    *Rule.linear("layers/{i}/attention/value", f"{_LAYER}.attention.v_lin"),
    *Rule.linear("layers/{i}/attention/output", f"{_LAYER}.attention.out_lin"),
    *Rule.norm("layers/{i}/attention_norm", f"{_LAYER}.sa_layer_norm"),
    *Rule.linear("layers/{i}/intermediate", f"{_LAYER}.ffn.lin1"),
    *Rule.linear("layers/{i}/output", f"{_LAYER}.ffn.lin2"),
    *Rule.norm("layers/{i}/output_norm", f"{_LAYER}.output_layer_norm"),
    *Rule.linear("classifier", "classifier"),
)


def rules(config: DistilBertConfig) -> list[Rule]:
    """Return the table, expanded for every layer."""
    return expand(WEIGHTS, config.num_hidden_layers)


NAMES = WeightNames(
    rules,
    prefix=PREFIX,
    ignored=(
        "vocab_transform.",
        "vocab_layer_norm.",
        "vocab_projector.",
        "pre_classifier.",
        "qa_outputs.",
        *leftovers(PREFIX),
    ),
    head=("classifier/",),
)
