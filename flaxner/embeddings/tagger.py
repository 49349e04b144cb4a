"""Taggers over fixed vectors, trained and scored by the very loop and code that serve BERT."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from flaxner.alignment import Segments
from flaxner.checkpoint import Checkpoints
from flaxner.config import TrainConfig
from flaxner.corpus import Corpus, Sentence
from flaxner.embeddings.contextual import ContextualEncoder
from flaxner.embeddings.static import StaticVectors
from flaxner.evaluation import Tags
from flaxner.interruption import Interruption
from flaxner.labels import LabelScheme
from flaxner.models.static import FIRST, TABLE, UNKNOWN, StaticConfig, StaticModel
from flaxner.preparation import Prepared
from flaxner.run_folder import RunFolder
from flaxner.step import init_state
from flaxner.training import Trainer

# A head over fixed vectors has other needs than a whole BERT: a high rate, more epochs.
HEAD_SETTINGS: dict[str, Any] = {"epochs": 15.0, "learning_rate": 3e-3, "weight_decay": 0.0}
Rows = Callable[[str, list[Sentence]], np.ndarray]


class BestHead(Checkpoints):
    """Holds the best head in memory, where a run of BERT writes checkpoints to disk."""

    def __init__(self) -> None:
        self.head: dict[str, np.ndarray] = {}

    def save(self, state: Any, progress: Any, fingerprint: Any) -> None:
        """Keep the trained parameters if they are the best so far."""
        if progress.best_step == int(state.step):
            self.head = {k: np.array(v) for k, v in state.params.items() if k != TABLE}

    def wait(self) -> None:
        """Nothing is pending."""


class HeadTrainer(Trainer):
    """The loop of a BERT run over a `StaticModel`; the model is not exported."""

    def predictions(self) -> dict[str, Tags]:
        """Train to the end; the best head's tags of validation and test."""
        model: Any = self.prepared.model
        best = BestHead()
        state = init_state(self.prepared.params, self.optimizer, self.mesh, model.frozen)
        with self.interruption.deferred():
            state = self._train(state, best)
        params = {**state.params, **best.head}
        splits = [split for split in ("validation", "test") if split in self.prepared.corpora]
        return {split: self.judge.score(split, params)[1] for split in splits}


def train_head(
    config: TrainConfig,
    corpora: Mapping[str, Corpus],
    scheme: LabelScheme,
    table: np.ndarray,
    rows: Rows,
    *,
    window: int,
    folder: Path,
    console: Console,
) -> tuple[dict[str, Tags], float]:
    """Train a linear layer (window 0) or a window MLP over a table of vectors.

    Args:
      config: the settings of the BERT run it stands beside: order, seed and batch size are its.
      corpora: split -> corpus.
      scheme: label table.
      table: (rows, width), padding and unknown first.
      rows: (split, sentences) -> the row of every word.
      window: words seen on each side.
      folder: for metrics.jsonl.
      console: for the progress bar.

    Returns:
      split -> tags, and seconds of training and scoring.
    """
    begin = time.monotonic()
    segments = {
        split: word_segments(corpus, rows(split, corpus.sentences), scheme)
        for split, corpus in corpora.items()
    }
    longest = max(int(s.lengths.max(initial=1)) for s in segments.values())
    length = max(128, longest)
    config = config.replace(max_length=length, row_length=length, resume=False, **HEAD_SETTINGS)
    sizes = StaticConfig(len(table), table.shape[1], len(scheme), window=window)
    model: Any = StaticModel(sizes)
    params = model.init(config.seed, table)
    prepared = Prepared(
        config=config, corpora=dict(corpora), scheme=scheme, tokenizer=None, model=model,
        params=params, fields={}, fresh=[], segments=segments,
    )  # fmt: skip
    quiet = Console(file=console.file, quiet=not console.is_terminal)
    with Interruption(console.print) as interruption:
        trainer = HeadTrainer(prepared, RunFolder(folder), quiet, interruption)
        tags = trainer.predictions()
    return tags, time.monotonic() - begin


def word_segments(corpus: Corpus, rows: np.ndarray, scheme: LabelScheme) -> Segments:
    """A corpus as segments of whole words: one a sentence, no special tokens."""
    sizes = [len(sentence.words) for sentence in corpus]
    labels = [scheme.encode(sentence.tags or ()) for sentence in corpus]
    return Segments(
        input_ids=rows.astype(np.int32),
        labels=np.concatenate([np.zeros(0, np.int32), *labels]),
        words=np.arange(len(rows), dtype=np.int32),
        starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        sentences=np.arange(len(sizes), dtype=np.int32),
        num_words=len(rows),
        num_sentences=len(sizes),
    )


def static_table(
    vectors: StaticVectors, corpora: Mapping[str, Corpus]
) -> tuple[np.ndarray, Rows, dict[str, float]]:
    """The vectors of the words that the corpora use, scaled to a mean length of 1 a number.

    Returns:
      the table, its row of every word, and the share of words without a vector by split.
    """
    found = (vectors.row(w) for c in corpora.values() for s in c for w in s.words)
    chosen = np.asarray(sorted({row for row in found if row is not None}), np.int64)
    place = {row: FIRST + i for i, row in enumerate(chosen.tolist())}
    table = _table(vectors.matrix[chosen])

    def rows(split: str, sentences: list[Sentence]) -> np.ndarray:
        found = (vectors.row(word) for sentence in sentences for word in sentence.words)
        return np.asarray([UNKNOWN if row is None else place[row] for row in found], np.int32)

    missing = {
        split: float((rows(split, corpus.sentences) == UNKNOWN).mean())
        for split, corpus in corpora.items()
    }
    return table, rows, missing


def contextual_table(
    encoder: ContextualEncoder, corpora: Mapping[str, Corpus]
) -> tuple[np.ndarray, Rows]:
    """A row for every occurrence: what a frozen BERT says of each word in its sentence."""
    vectors = {split: encoder.encode(corpus.sentences) for split, corpus in corpora.items()}
    begins = dict(zip(vectors, np.cumsum([0, *map(len, vectors.values())]), strict=False))
    table = _table(np.concatenate(list(vectors.values())))

    def rows(split: str, sentences: list[Sentence]) -> np.ndarray:
        return FIRST + begins[split] + np.arange(len(vectors[split]))

    return table, rows


def _table(vectors: np.ndarray) -> np.ndarray:
    """Rows for padding and unknown words before the vectors, which get unit variance."""
    scale = float(np.sqrt(np.mean(np.square(vectors)))) or 1.0
    empty = np.zeros((FIRST, vectors.shape[1]), np.float32)
    return np.concatenate([empty, vectors / scale]).astype(np.float32)
