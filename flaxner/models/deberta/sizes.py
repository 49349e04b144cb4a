"""Sizes of well-known DeBERTa models, for preflight, and of the tiny ones."""

from __future__ import annotations

from typing import Any


def _sizes(width: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "relative_attention": True,
        "position_biased_input": False,
        "pos_att_type": ("p2c", "c2p"),
        **more,
    }


_V3 = {"position_buckets": 256, "norm_rel_ebd": "layer_norm", "share_att_key": True}
_CONVOLVED = _V3 | {"conv_kernel_size": 3, "conv_act": "gelu"}
# Hub name -> the sizes in its config.json; every other field has the default.
KNOWN: dict[str, dict[str, Any]] = {
    "microsoft/deberta-base": _sizes(768, 12, 12),
    "microsoft/deberta-large": _sizes(1024, 24, 16),
}
KNOWN_V2: dict[str, dict[str, Any]] = {
    "microsoft/deberta-v3-xsmall": _sizes(384, 12, 6, **_V3),
    "microsoft/deberta-v3-small": _sizes(768, 6, 12, **_V3),
    "microsoft/deberta-v3-base": _sizes(768, 12, 12, **_V3),
    "microsoft/deberta-v3-large": _sizes(1024, 24, 16, **_V3),
    "microsoft/mdeberta-v3-base": _sizes(768, 12, 12, vocab_size=251000, **_V3),
    "microsoft/deberta-v2-xlarge": _sizes(1536, 24, 24, **_CONVOLVED),
}
TINY: dict[str, Any] = _sizes(128, 2, 4, max_position_embeddings=512)
TINY_V2: dict[str, Any] = TINY | _V3 | {"position_buckets": 32}
