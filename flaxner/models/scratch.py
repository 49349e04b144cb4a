"""Models that start from random weights, each with its own tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flaxner.data.corpus import Corpus
from flaxner.data.tokenizer import load_tokenizer, read_as_trained
from flaxner.data.tokenizer_training import (
    train_byte_bpe,
    train_deberta_unigram,
    train_unigram,
    train_wordpiece,
)
from flaxner.models.encoders import ENCODERS
from flaxner.models.layers.config import EncoderConfig


def tokenizer_of(model: str, revision: str | None, train: Corpus) -> Any:
    """Return the tokenizer as a run would use it, without reading any weights.

    Raises:
      ValueError: the tokenizer cannot be loaded.
    """
    if model in SCRATCH:
        return scratch_tokenizer(model, train)
    tokenizer = load_tokenizer(model, revision=revision)
    read_as_trained(tokenizer)
    return tokenizer


# flaxner:NAME -> model_type and sizes of a model that starts from random weights, with its own
# vocabulary.
SCRATCH: dict[str, tuple[str, Mapping[str, Any]]] = {
    f"flaxner:tiny-{model_type}".removesuffix("-bert"): (model_type, encoder.tiny)
    for model_type, encoder in ENCODERS.items()
}
SCRATCH_VOCABULARY = 800  # small: unseen names split into pieces, so context must give their type


# kind of tokenizer -> function (texts, vocabulary size) -> `transformers` tokenizer
TOKENIZERS: dict[str, Callable[[Iterable[str], int], Any]] = {
    "wordpiece": train_wordpiece,
    "byte_bpe": train_byte_bpe,
    "unigram": train_unigram,
    "deberta_unigram": train_deberta_unigram,
}


def scratch_tokenizer(model: str, train: Corpus, vocab_size: int = SCRATCH_VOCABULARY) -> Any:
    """Train the tokenizer of a model in SCRATCH on the training corpus.

    It has `vocab_size` entries: fewer if the corpus does not yield that many, more if the corpus
    has more distinct characters than that.
    """
    kind = ENCODERS[SCRATCH[model][0]].tokenizer
    return TOKENIZERS[kind]((" ".join(s.words) for s in train), vocab_size)


def scratch_fields(tokenizer: Any) -> dict[str, Any]:
    """Return the config.json fields where a family's defaults may contradict the tokenizer."""
    names = ("pad", "bos", "eos", "cls", "sep")
    return {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in names}


def scratch_config(model: str, tokenizer: Any, num_labels: int) -> EncoderConfig:
    """Return the settings of a model in SCRATCH, matched to its tokenizer."""
    kind, sizes = SCRATCH[model]
    fields = {**sizes, **scratch_fields(tokenizer), "vocab_size": len(tokenizer)}
    return ENCODERS[kind].config.from_hf({"model_type": kind, **fields}, num_labels)
