"""Sizes of well-known ELECTRA models, for preflight, and of the tiny one."""

from __future__ import annotations

from typing import Any


def _sizes(embedding: int, width: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "vocab_size": 30522,
        "embedding_size": embedding,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
    }


# Hub name -> the sizes in its config.json; every other field has ElectraConfig's default.
KNOWN: dict[str, dict[str, Any]] = {
    "google/electra-small-discriminator": _sizes(128, 256, 12, 4),
    "google/electra-base-discriminator": _sizes(768, 768, 12, 12),
    "google/electra-large-discriminator": _sizes(1024, 1024, 24, 16),
}
TINY: dict[str, Any] = {
    "embedding_size": 64,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 512,
}
