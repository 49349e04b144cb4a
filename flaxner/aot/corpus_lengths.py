"""Sentence lengths of an available corpus, from the model's tokenizer or estimated from words."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flaxner.aot.workload import TOKENS_A_WORD, segments_of
from flaxner.config.train import TrainConfig
from flaxner.data.corpus import Corpus
from flaxner.data.segments import Segments, align
from flaxner.models.scratch import tokenizer_of
from flaxner.training.preparation import load_corpora, with_context
from flaxner.wording import number_of


class Measured(NamedTuple):
    """The properties of the training corpus that determine the shapes of a run.

    Attributes:
      segments: tokenised segments, or segments of estimated length without content.
      labels: width of the head.
      source: where the lengths come from.
      vocabulary: number of entries of the tokenizer, if available.
    """

    segments: Segments
    labels: int
    source: str
    vocabulary: int | None = None


def measure_corpus(config: TrainConfig) -> Measured:
    """Read the training corpus that the settings name.

    Without the model's tokenizer, which may not be on this machine, lengths are estimated.

    Raises:
      ValueError: the corpus cannot be read.
    """
    train = load_corpora(config)["train"]
    try:
        tokenizer = tokenizer_of(config.model, config.revision, train)
    except ValueError:
        return _estimated(config, train)
    segments = align(train.sentences, tokenizer, None, config.max_length)
    segments = with_context(segments, train, config)
    source = f"{number_of(len(train), 'sentences')} of {train.source}, tokenised for {config.model}"
    return Measured(segments, _labels(train), source, len(tokenizer))


def _estimated(config: TrainConfig, train: Corpus) -> Measured:
    words = np.asarray([len(sentence.words) for sentence in train])
    lengths = np.rint(words * TOKENS_A_WORD).astype(np.int64) + 2
    source = (
        f"{number_of(len(train), 'sentences')} of {train.source}, words times {TOKENS_A_WORD:.2f} "
        f"tokens as in CoNLL-2003: the tokenizer of {config.model} is not at hand"
    )
    segments = with_context(segments_of(lengths, config.max_length), train, config)
    return Measured(segments, _labels(train), source)


def _labels(train: Corpus) -> int:
    return 2 * len(train.types) + 1
