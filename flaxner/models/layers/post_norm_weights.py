"""Weight names shared by BERT, RoBERTa and ELECTRA: ours and PyTorch's, side by side."""

from __future__ import annotations

from flaxner.models.tensors import Rule


def post_norm_rules(prefix: str) -> tuple[Rule, ...]:
    """Return the rules for every parameter, our name -> PyTorch's; `{i}` is the layer's index.

    We store a kernel as (in, out), PyTorch as (out, in).

    Args:
      prefix: of the encoder's names in a full model, such as "bert.".
    """
    there, layer = f"{prefix}embeddings", f"{prefix}encoder.layer.{{i}}"
    return (
        Rule("embeddings/word_embeddings/embedding", f"{there}.word_embeddings.weight"),
        Rule("embeddings/position_embeddings/embedding", f"{there}.position_embeddings.weight"),
        Rule("embeddings/token_type_embeddings/embedding", f"{there}.token_type_embeddings.weight"),
        *Rule.norm("embeddings/norm", f"{there}.LayerNorm"),
        *Rule.linear("layers/{i}/attention/query", f"{layer}.attention.self.query"),
        *Rule.linear("layers/{i}/attention/key", f"{layer}.attention.self.key"),
        *Rule.linear("layers/{i}/attention/value", f"{layer}.attention.self.value"),
        *Rule.linear("layers/{i}/attention/output", f"{layer}.attention.output.dense"),
        *Rule.norm("layers/{i}/attention_norm", f"{layer}.attention.output.LayerNorm"),
        *Rule.linear("layers/{i}/intermediate", f"{layer}.intermediate.dense"),
        *Rule.linear("layers/{i}/output", f"{layer}.output.dense"),
        *Rule.norm("layers/{i}/output_norm", f"{layer}.output.LayerNorm"),
        *Rule.linear("classifier", "classifier"),
    )


def leftovers(prefix: str) -> tuple[str, ...]:
    """Return prefixes of names that a token classifier does not use: pooler and buffers."""
    inner = ("pooler.", "embeddings.position_ids")
    return (*inner, *(prefix + name for name in inner))
