"""DeBERTa's weight names, of both versions: ours and PyTorch's, side by side."""

from __future__ import annotations

from flaxner.models.deberta.config import C2P, P2C, DebertaConfig, DebertaV2Config
from flaxner.models.tensors import Rule, WeightNames, expand

_EMBEDDINGS, _ENCODER = "deberta.embeddings", "deberta.encoder"
_LAYER, _SELF = f"{_ENCODER}.layer.{{i}}", f"{_ENCODER}.layer.{{i}}.attention.self"
_PROJECTIONS = "layers/{i}/attention/projections"
COMMON: tuple[Rule, ...] = (
    Rule("embeddings/word_embeddings/embedding", f"{_EMBEDDINGS}.word_embeddings.weight"),
    *Rule.norm("embeddings/norm", f"{_EMBEDDINGS}.LayerNorm"),
    *Rule.linear("layers/{i}/attention/output", f"{_LAYER}.attention.output.dense"),
    *Rule.norm("layers/{i}/attention_norm", f"{_LAYER}.attention.output.LayerNorm"),
    *Rule.linear("layers/{i}/intermediate", f"{_LAYER}.intermediate.dense"),
    *Rule.linear("layers/{i}/output", f"{_LAYER}.output.dense"),
    *Rule.norm("layers/{i}/output_norm", f"{_LAYER}.output.LayerNorm"),
    *Rule.linear("classifier", "classifier"),
)
FUSED: tuple[Rule, ...] = (
    Rule(f"{_PROJECTIONS}/qkv/kernel", f"{_SELF}.in_proj.weight", transpose=True),
    Rule(f"{_PROJECTIONS}/query_bias", f"{_SELF}.q_bias"),
    Rule(f"{_PROJECTIONS}/value_bias", f"{_SELF}.v_bias"),
)
SPLIT: tuple[Rule, ...] = (
    *Rule.linear(f"{_PROJECTIONS}/query", f"{_SELF}.query_proj"),
    *Rule.linear(f"{_PROJECTIONS}/key", f"{_SELF}.key_proj"),
    *Rule.linear(f"{_PROJECTIONS}/value", f"{_SELF}.value_proj"),
)


def rules(config: DebertaConfig) -> list[Rule]:
    """Return the table for the weights that these settings have, expanded for every layer."""
    table = [*COMMON, *_embeddings(config)]
    second = isinstance(config, DebertaV2Config)
    table += SPLIT if second else FUSED
    if config.relative_attention:
        table.append(Rule("relative/embedding", f"{_ENCODER}.rel_embeddings.weight"))
        table += _relative_projections(config)
    if config.norms_relative:
        table += Rule.norm("relative_norm", f"{_ENCODER}.LayerNorm")
    if isinstance(config, DebertaV2Config) and config.conv_kernel_size > 0:
        ours, theirs = "layers/0/convolution", f"{_ENCODER}.conv"
        table.append(Rule(f"{ours}/kernel", f"{theirs}.conv.weight", transpose=True))
        table.append(Rule(f"{ours}/bias", f"{theirs}.conv.bias"))
        table += Rule.norm(f"{ours}/norm", f"{theirs}.LayerNorm")
    return expand(table, config.num_hidden_layers)


def _embeddings(config: DebertaConfig) -> list[Rule]:
    names = {
        "position_embeddings/embedding": config.position_biased_input,
        "token_type_embeddings/embedding": config.type_vocab_size > 0,
    }
    tables = [
        Rule(f"embeddings/{name}", f"{_EMBEDDINGS}.{name.split('/')[0]}.weight")
        for name, is_there in names.items()
        if is_there
    ]
    if config.embedding_size not in (0, config.hidden_size):
        theirs = f"{_EMBEDDINGS}.embed_proj.weight"
        tables.append(Rule("embeddings/projection/kernel", theirs, transpose=True))
    return tables


def _relative_projections(config: DebertaConfig) -> list[Rule]:
    second = isinstance(config, DebertaV2Config)
    if isinstance(config, DebertaV2Config) and config.share_att_key:
        return []
    projections: list[Rule] = []
    if C2P in config.pos_att_type:
        theirs = f"{_SELF}.{'pos_key_proj' if second else 'pos_proj'}"
        kernel, bias = Rule.linear(f"{_PROJECTIONS}/relative_key", theirs)
        projections += [kernel, bias] if second else [kernel]
    if P2C in config.pos_att_type:
        theirs = f"{_SELF}.{'pos_query_proj' if second else 'pos_q_proj'}"
        projections += Rule.linear(f"{_PROJECTIONS}/relative_query", theirs)
    return projections


NAMES = WeightNames(
    rules,
    prefix="deberta.",
    ignored=(
        "deberta.embeddings.position_",
        "embeddings.position_",
        "deberta.pooler.",
        "pooler.",
        "cls.",
        "lm_predictions.",
        "mask_predictions.",
        "lm_head.",
    ),
    head=("classifier/",),
)
