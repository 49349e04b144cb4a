"""Sizes of well-known DistilBERT models, for preflight, and of the tiny one."""

from __future__ import annotations

from typing import Any

# Hub name -> the sizes in its config.json; every other field has DistilBertConfig's default.
KNOWN: dict[str, dict[str, Any]] = {
    "distilbert/distilbert-base-uncased": {"vocab_size": 30522},
    "distilbert/distilbert-base-cased": {"vocab_size": 28996},
    "distilbert/distilbert-base-multilingual-cased": {"vocab_size": 119547},
}
TINY: dict[str, Any] = {"dim": 128, "n_layers": 2, "n_heads": 4, "hidden_dim": 512}
