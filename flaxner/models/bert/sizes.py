"""Sizes of well-known BERT models, for preflight, and of the tiny one."""

from __future__ import annotations

from typing import Any

from flaxner.models.layers.sizes import sizes

_BASE, _LARGE = sizes(768, 12, 12), sizes(1024, 24, 16)
# Hub name -> the sizes in its config.json; every other field has BertConfig's default.
KNOWN: dict[str, dict[str, Any]] = {
    "google-bert/bert-base-cased": _BASE | {"vocab_size": 28996},
    "google-bert/bert-base-uncased": _BASE,
    "google-bert/bert-large-cased": _LARGE | {"vocab_size": 28996},
    "google-bert/bert-large-uncased": _LARGE,
    "google-bert/bert-large-cased-whole-word-masking": _LARGE | {"vocab_size": 28996},
    "google-bert/bert-large-uncased-whole-word-masking": _LARGE,
    "google-bert/bert-base-multilingual-cased": _BASE | {"vocab_size": 119547},
    "google-bert/bert-base-multilingual-uncased": _BASE | {"vocab_size": 105879},
    "google-bert/bert-base-chinese": _BASE | {"vocab_size": 21128},
    "google-bert/bert-base-german-cased": _BASE | {"vocab_size": 30000},
    "google/bert_uncased_L-2_H-128_A-2": sizes(128, 2, 2),
    "google/bert_uncased_L-4_H-256_A-4": sizes(256, 4, 4),
    "google/bert_uncased_L-4_H-512_A-8": sizes(512, 4, 8),
    "google/bert_uncased_L-8_H-512_A-8": sizes(512, 8, 8),
}
TINY: dict[str, Any] = sizes(128, 2, 4)
