"""What a run would compute: model sizes and sentence lengths, without a network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flaxner.config.train import TrainConfig
from flaxner.data.chains import most_words
from flaxner.data.documents import DocumentSegments, in_documents
from flaxner.data.segments import Segments, windows
from flaxner.files import read_json
from flaxner.models.checks import check_config
from flaxner.models.encoders import ENCODERS, encoder_of
from flaxner.models.layers.config import EncoderConfig
from flaxner.models.scratch import SCRATCH, SCRATCH_VOCABULARY
from flaxner.training.program import train_batches
from flaxner.training.stack import StackedPlan
from flaxner.wording import number_of


def known_models() -> dict[str, tuple[type[EncoderConfig], Mapping[str, Any]]]:
    """Return name -> settings class and sizes, of the models whose sizes are built in."""
    known = {
        name: (encoder.config, {"model_type": model_type, **sizes})
        for model_type, encoder in ENCODERS.items()
        for name, sizes in encoder.sizes.items()
    }
    return known | {
        name: (
            ENCODERS[kind].config,
            {"model_type": kind, **sizes, "vocab_size": SCRATCH_VOCABULARY},
        )
        for name, (kind, sizes) in SCRATCH.items()
    }


def model_sizes(
    name: str, file: str | Path | None = None, labels: int = 9, vocabulary: int | None = None
) -> EncoderConfig:
    """Return the sizes of a model: built in, or from a config.json.

    Args:
      name: a Hub name (its owner may be left out) or a folder that holds a config.json.
      file: a config.json, instead of the name.
      labels: width of the head.
      vocabulary: number of entries of the tokenizer that a model with random weights will have.

    Raises:
      ValueError: the name is unknown, or the file is not a supported config.json.
    """
    path = Path(file) if file is not None else Path(name) / "config.json"
    if file is None and not path.is_file():
        built_in = known_models()
        for known, (config, sizes) in built_in.items():
            if name in (known, known.split("/")[-1]):
                if known in SCRATCH and vocabulary is not None:
                    sizes = {**sizes, "vocab_size": vocabulary}
                return config.from_hf(sizes, labels)
        names = ", ".join(built_in)
        raise ValueError(
            f"the sizes of the model {name!r} are not built in (only those of {names}): "
            f"give its config.json with --model-config"
        )
    fields = read_json(path)
    config = encoder_of(fields.get("model_type"), str(path)).config
    check_config(config, fields, str(path))
    return config.from_hf(fields, labels)


# CoNLL-2003's training part: measured counts, and a distribution that models them (a gamma
# distribution of shape 3 with that mean has its 99th percentile at 2.80 means).
CONLL_SENTENCES, CONLL_WORDS, CONLL_TOKENS, CONLL_P99 = 14_041, 203_621, 280_089, 56
# Tokens per word without [CLS] and [SEP], with BERT's cased vocabulary.
TOKENS_A_WORD = (CONLL_TOKENS - 2 * CONLL_SENTENCES) / CONLL_WORDS
LENGTHS_SOURCE = (
    "CoNLL-2003's counts (14,041 sentences, 280,089 tokens), lengths from a gamma distribution "
    "with its mean of 20 and 99th percentile of 56"
)
CONLL_DOCUMENTS = 946  # Tjong Kim Sang and De Meulder 2003, table 1
ASSUMED = "documents of 15 sentences, CoNLL-2003's mean"


def conll_lengths() -> np.ndarray:
    """Model the token counts of CoNLL-2003's sentences; the same every time."""
    rng = np.random.Generator(np.random.Philox(key=[2003, 0]))
    drawn = rng.gamma(3.0, CONLL_TOKENS / CONLL_SENTENCES / 3.0, CONLL_SENTENCES)
    lengths = np.maximum(np.rint(drawn), 3).astype(np.int64)
    surplus = int(lengths.sum()) - CONLL_TOKENS
    step = -1 if surplus > 0 else 1
    room = np.flatnonzero((lengths > 4) & (lengths < 50))[: abs(surplus)]
    lengths[room] += step
    return lengths


@dataclasses.dataclass(frozen=True)
class Workload:
    """The shapes of a run.

    Attributes:
      sentences: number of sentences in the training corpus.
      rows: rows of a training step over all chips, for the largest shape.
      length: tokens per row.
      words: maximum words per row, which is the width of a CRF's arrays.
      steps: steps of the run.
      steps_per_epoch: steps per epoch.
      fill: fraction of real tokens in the rows.
      evaluation_rows: rows of an evaluation step over all chips.
      tokens: tokens of the training corpus, including [CLS] and [SEP] of every segment.
      source: where the sentence lengths come from.
    """

    sentences: int
    rows: int
    length: int
    words: int
    steps: int
    steps_per_epoch: int
    fill: float
    evaluation_rows: int
    tokens: int
    source: str


def plan(
    config: TrainConfig,
    chips: int,
    lengths: np.ndarray | None = None,
    corpus: tuple[Segments, str] | None = None,
) -> Workload:
    """Plan the shapes of a run, from the plan of batches that the run itself would make.

    Args:
      config: the settings.
      chips: number of devices.
      lengths: tokens of each sentence of the whole training corpus, including [CLS] and [SEP];
        None: modelled on CoNLL-2003.
      corpus: what the run trains on and where it is from, instead of `lengths`.
    """
    segments, source = _planned(config, lengths, corpus)
    batches = train_batches(config, segments, chips)
    return Workload(
        sentences=segments.num_sentences,
        rows=batches.shapes[-1],
        length=config.packed_length,
        words=most_words(batches.segments, batches.row_length),
        steps=batches.num_steps,
        steps_per_epoch=batches.steps_per_epoch,
        fill=batches.fill(),
        evaluation_rows=math.ceil(config.eval_batch_size / chips) * chips,
        tokens=sum(batches.tokens_at(step) for step in range(batches.steps_per_epoch)),
        source=source,
    )


def rows_together(
    config: TrainConfig,
    chips: int,
    lengths: np.ndarray | None = None,
    corpus: tuple[Segments, str] | None = None,
) -> int:
    """Return the rows per seed in the largest step that trains all `seeds` at once.

    Args:
      config, chips, lengths, corpus: as for `plan`.
    """
    segments, _ = _planned(config, lengths, corpus)
    seeds = range(config.seed, config.seed + config.seeds)
    each = [config.replace(seed=seed, seeds=1, seeds_at_once=0) for seed in seeds]
    return StackedPlan([train_batches(own, segments, chips) for own in each]).shapes[-1]


def _planned(
    config: TrainConfig, lengths: np.ndarray | None, corpus: tuple[Segments, str] | None
) -> tuple[Segments, str]:
    """Return the segments to plan over, and where they are from."""
    if corpus is not None:
        segments, source = corpus
    else:
        source = LENGTHS_SOURCE if lengths is None else number_of(len(lengths), "sentences given")
        whole = conll_lengths() if lengths is None else np.asarray(lengths, np.int64)
        share = _share(config)
        count = max(1, round(share * len(whole)))
        segments = segments_of(whole[np.arange(count) * len(whole) // count], config.max_length)
        source += f"; a run trains on {share:.3g} of them" if share < 1 else ""
        source += "; few_shot is not counted" if config.few_shot else ""
    if config.in_documents and not isinstance(segments, DocumentSegments):
        segments, source = _in_documents(segments, config.max_length), f"{source}; {ASSUMED}"
    return segments, source


def _share(config: TrainConfig) -> float:
    """Return the share of the training corpus that a run trains on, as far as the settings tell."""
    fold = 1 - 1 / config.cross_validation if config.fold else 1.0
    return fold * (1 - config.held_out) * config.train_fraction


def _in_documents(segments: Segments, limit: int) -> DocumentSegments:
    """Group sentences into documents of CoNLL-2003's mean size."""
    count = segments.num_sentences
    documents = np.arange(count) * CONLL_DOCUMENTS // CONLL_SENTENCES
    return in_documents(segments, documents.tolist(), limit)


def segments_of(lengths: np.ndarray, limit: int) -> Segments:
    """A corpus of sentences of these lengths and no content; long ones become windows.

    Every segment has as many words as CoNLL-2003 has, on average, in that many tokens.
    """
    sizes: list[int] = []
    owners: list[int] = []
    for number, length in enumerate(lengths.tolist()):
        inside = length - 2
        cut = [(0, inside, 0, inside)]
        if length > limit:
            cut = windows(np.arange(inside), inside, limit - 2)
        sizes += [end - first + 2 for first, end, _, _ in cut]
        owners += [number] * len(cut)
    total, starts = sum(sizes), np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    place = np.arange(total) - np.repeat(starts[:-1], sizes)
    nothing = np.zeros(total, np.int32)
    words = np.rint((np.asarray(sizes) - 2) / TOKENS_A_WORD)
    return Segments(
        input_ids=nothing,
        labels=nothing,
        words=np.where(place < np.repeat(words, sizes), 0, -1).astype(np.int32),
        starts=starts,
        sentences=np.asarray(owners, np.int32),
        num_words=int(lengths.sum()),
        num_sentences=len(lengths),
    )
