"""ModernBERT's weight names: ours and PyTorch's, side by side."""

from __future__ import annotations

from flaxner.models.modernbert.config import ModernBertConfig
from flaxner.models.tensors import Rule, WeightNames, expand

_LAYER = "model.layers.{i}"
WEIGHTS: tuple[Rule, ...] = (
    Rule("embeddings/embedding", "model.embeddings.tok_embeddings.weight"),
    *Rule.norm("embeddings_norm", "model.embeddings.norm"),
    *Rule.norm("layers/{i}/attention_norm", f"{_LAYER}.attn_norm"),
    *Rule.linear("layers/{i}/attention/qkv", f"{_LAYER}.attn.Wqkv"),
    *Rule.linear("layers/{i}/attention/output", f"{_LAYER}.attn.Wo"),
    *Rule.norm("layers/{i}/mlp_norm", f"{_LAYER}.mlp_norm"),
    *Rule.linear("layers/{i}/intermediate", f"{_LAYER}.mlp.Wi"),
    *Rule.linear("layers/{i}/output", f"{_LAYER}.mlp.Wo"),
    *Rule.norm("final_norm", "model.final_norm"),
    *Rule.linear("head_dense", "head.dense"),
    *Rule.norm("head_norm", "head.norm"),
    *Rule.linear("classifier", "classifier"),
)


def rules(config: ModernBertConfig) -> list[Rule]:
    """Return the table, expanded for every layer, without the biases that the settings disable."""

    def is_there(rule: Rule) -> bool:
        if rule.ours.startswith("layers/0/attention_norm/"):
            return False
        if not rule.ours.endswith("/bias") or rule.ours == "classifier/bias":
            return True
        if "norm/" in rule.ours:
            return config.norm_bias
        if rule.ours.startswith("head_dense/"):
            return config.classifier_bias
        return config.attention_bias if "/attention/" in rule.ours else config.mlp_bias

    return [rule for rule in expand(WEIGHTS, config.num_hidden_layers) if is_there(rule)]


NAMES = WeightNames(
    rules,
    prefix="model.",
    ignored=("decoder.",),
    head=("classifier/",),
    # The masked language model has these too, so they can be loaded from it.
    absent_in_encoder=("head_dense/", "head_norm/"),
    words="embeddings/embedding",
)
