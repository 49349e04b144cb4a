"""Tiny models and corpora for tests."""

import numpy as np

from flaxner.data.segments import IGNORED_LABEL, Segments
from flaxner.models.bert.config import BertConfig

SIZES = {
    "vocab_size": 99,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
}


def tiny_config(**changes):
    return BertConfig(**{**SIZES, "num_labels": 5, **changes})


def random_segments(rng, lengths, *, vocab=99, labels=5, sep=False):
    """Return a tokenised corpus of random tokens: one segment per sentence, 2/3 of tokens labelled.

    With `sep`, the last token of a segment is never labelled, like [SEP].
    """
    total = int(np.sum(lengths))
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    labelled = rng.random(total) < 2 / 3
    labelled[starts[:-1]] = False  # [CLS]
    labelled[starts[1:] - 1] &= not sep
    words = np.where(labelled, np.cumsum(labelled) - 1, -1).astype(np.int32)
    gold = np.where(labelled, rng.integers(0, labels, total), IGNORED_LABEL).astype(np.int32)
    return Segments(
        input_ids=rng.integers(1, vocab, total).astype(np.int32),
        labels=gold,
        words=words,
        starts=starts,
        sentences=np.arange(len(lengths), dtype=np.int32),
        num_words=int(labelled.sum()),
        num_sentences=len(lengths),
    )
