"""Sizes of well-known RoBERTa models, for preflight, and of the tiny one."""

from __future__ import annotations

from typing import Any

from flaxner.models.layers.sizes import sizes

_MORE = {"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
_BASE, _LARGE = sizes(768, 12, 12, **_MORE), sizes(1024, 24, 16, **_MORE)
# Hub name -> the sizes in its config.json; every other field has the class's default.
ROBERTA: dict[str, dict[str, Any]] = {
    "FacebookAI/roberta-base": _BASE,
    "FacebookAI/roberta-large": _LARGE,
    "distilbert/distilroberta-base": sizes(768, 6, 12, **_MORE),
}
XLM_ROBERTA: dict[str, dict[str, Any]] = {
    "FacebookAI/xlm-roberta-base": _BASE | {"vocab_size": 250002},
    "FacebookAI/xlm-roberta-large": _LARGE | {"vocab_size": 250002},
}
CAMEMBERT: dict[str, dict[str, Any]] = {
    "almanach/camembert-base": _BASE | {"vocab_size": 32005},
}
TINY: dict[str, Any] = sizes(128, 2, 4, **_MORE)
