"""Sizes of well-known RoBERTa models, for preflight, and of the tiny one."""

from __future__ import annotations

from typing import Any


def _sizes(vocabulary: int, width: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "max_position_embeddings": 514,
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
    }


# Hub name -> the sizes in its config.json; every other field has the class's default.
ROBERTA: dict[str, dict[str, Any]] = {
    "FacebookAI/roberta-base": _sizes(50265, 768, 12, 12),
    "FacebookAI/roberta-large": _sizes(50265, 1024, 24, 16),
    "distilbert/distilroberta-base": _sizes(50265, 768, 6, 12),
}
XLM_ROBERTA: dict[str, dict[str, Any]] = {
    "FacebookAI/xlm-roberta-base": _sizes(250002, 768, 12, 12),
    "FacebookAI/xlm-roberta-large": _sizes(250002, 1024, 24, 16),
}
CAMEMBERT: dict[str, dict[str, Any]] = {
    "almanach/camembert-base": _sizes(32005, 768, 12, 12),
}
TINY: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
}
