"""Sizes of well-known DistilBERTs, for preflight, and of the tiny one."""

from __future__ import annotations

from typing import Any

# Hub name -> what its config.json says of its size; every other field is DistilBertConfig's
# default.
KNOWN: dict[str, dict[str, Any]] = {
    "distilbert/distilbert-base-uncased": {"vocab_size": 30522},
    "distilbert/distilbert-base-cased": {"vocab_size": 28996},
    "distilbert/distilbert-base-multilingual-cased": {"vocab_size": 119547},
}
TINY: dict[str, Any] = {"dim": 128, "n_layers": 2, "n_heads": 4, "hidden_dim": 512}
