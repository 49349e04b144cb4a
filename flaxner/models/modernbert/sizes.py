"""Sizes of well-known ModernBERT models, for preflight, and of the tiny one."""

from __future__ import annotations

from typing import Any

# Hub name -> the sizes in its config.json; every other field has the default.
KNOWN: dict[str, dict[str, Any]] = {
    "answerdotai/ModernBERT-base": {},
    "answerdotai/ModernBERT-large": {
        "hidden_size": 1024,
        "intermediate_size": 2624,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
    },
}
TINY: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "local_attention": 32,
    "max_position_embeddings": 512,
}
