"""Sizes of well-known BERT models, for preflight, and of the tiny one."""

from __future__ import annotations

from typing import Any


def _sizes(vocabulary: int, width: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
    }


# Hub name -> the sizes in its config.json; every other field has BertConfig's default.
KNOWN: dict[str, dict[str, Any]] = {
    "google-bert/bert-base-cased": _sizes(28996, 768, 12, 12),
    "google-bert/bert-base-uncased": _sizes(30522, 768, 12, 12),
    "google-bert/bert-large-cased": _sizes(28996, 1024, 24, 16),
    "google-bert/bert-large-uncased": _sizes(30522, 1024, 24, 16),
    "google-bert/bert-large-cased-whole-word-masking": _sizes(28996, 1024, 24, 16),
    "google-bert/bert-large-uncased-whole-word-masking": _sizes(30522, 1024, 24, 16),
    "google-bert/bert-base-multilingual-cased": _sizes(119547, 768, 12, 12),
    "google-bert/bert-base-multilingual-uncased": _sizes(105879, 768, 12, 12),
    "google-bert/bert-base-chinese": _sizes(21128, 768, 12, 12),
    "google-bert/bert-base-german-cased": _sizes(30000, 768, 12, 12),
    "google/bert_uncased_L-2_H-128_A-2": _sizes(30522, 128, 2, 2),
    "google/bert_uncased_L-4_H-256_A-4": _sizes(30522, 256, 4, 4),
    "google/bert_uncased_L-4_H-512_A-8": _sizes(30522, 512, 4, 8),
    "google/bert_uncased_L-8_H-512_A-8": _sizes(30522, 512, 8, 8),
}
TINY: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 512,
}
