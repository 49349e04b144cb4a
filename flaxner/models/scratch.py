"""Models that start from random weights, with a tokenizer of their own."""

from __future__ import annotations

from typing import Any

from flaxner.data.corpus import Corpus
from flaxner.data.tokenizer import load_tokenizer, train_wordpiece


def tokenizer_of(model: str, revision: str | None, train: Corpus) -> Any:
    """The tokenizer that a run would use; no weights are read.

    Raises:
      ValueError: it cannot be had.
    """
    if model in SCRATCH:
        return scratch_tokenizer(train)
    return load_tokenizer(model, revision=revision)


SCRATCH_VOCABULARY = 800  # small: unseen names fall into pieces, and context must tell their type
# flaxner:NAME -> sizes of a BERT that starts from random weights, with a vocabulary of its own.
SCRATCH: dict[str, dict[str, Any]] = {
    "flaxner:tiny": {
        "hidden_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 512,
    },
}


def scratch_tokenizer(train: Corpus) -> Any:
    """The tokenizer of a model that starts from random weights.

    It has `SCRATCH_VOCABULARY` entries: fewer if the corpus does not give so many, more if it is
    written in more letters than that.
    """
    return train_wordpiece((" ".join(s.words) for s in train), SCRATCH_VOCABULARY)
