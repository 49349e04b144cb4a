"""Sizes of well-known DeBERTa models, for preflight, and of the tiny ones."""

from __future__ import annotations

from typing import Any

from flaxner.models.layers.sizes import sizes

_V1 = {
    "relative_attention": True,
    "position_biased_input": False,
    "pos_att_type": ("p2c", "c2p"),
}
_V3 = _V1 | {"position_buckets": 256, "norm_rel_ebd": "layer_norm", "share_att_key": True}
_CONVOLVED = _V3 | {"conv_kernel_size": 3, "conv_act": "gelu"}
# Hub name -> the sizes in its config.json; every other field has the default.
KNOWN: dict[str, dict[str, Any]] = {
    "microsoft/deberta-base": sizes(768, 12, 12, **_V1),
    "microsoft/deberta-large": sizes(1024, 24, 16, **_V1),
}
KNOWN_V2: dict[str, dict[str, Any]] = {
    "microsoft/deberta-v3-xsmall": sizes(384, 12, 6, **_V3),
    "microsoft/deberta-v3-small": sizes(768, 6, 12, **_V3),
    "microsoft/deberta-v3-base": sizes(768, 12, 12, **_V3),
    "microsoft/deberta-v3-large": sizes(1024, 24, 16, **_V3),
    "microsoft/mdeberta-v3-base": sizes(768, 12, 12, vocab_size=251000, **_V3),
    "microsoft/deberta-v2-xlarge": sizes(1536, 24, 24, **_CONVOLVED),
}
TINY: dict[str, Any] = sizes(128, 2, 4, **_V1, max_position_embeddings=512)
TINY_V2: dict[str, Any] = TINY | _V3 | {"position_buckets": 32}
