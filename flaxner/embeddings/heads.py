"""Taggers over fixed vectors, trained and scored by the same loop and code as BERT."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from flaxner import terminal
from flaxner.config.data import CONTEXT_SHARE
from flaxner.config.recipes import RecipeSettings
from flaxner.config.train import TrainConfig
from flaxner.data.corpus import Corpus, Sentence
from flaxner.data.labels import LabelScheme
from flaxner.data.segments import Segments
from flaxner.embeddings.contextual import ContextualEncoder
from flaxner.embeddings.static import StaticVectors
from flaxner.models.vectors import FIRST, TABLE, UNKNOWN, StaticConfig, StaticModel
from flaxner.runs.checkpoint import Progress
from flaxner.runs.folder import RunFolder
from flaxner.runs.state import TrainState
from flaxner.training.loop import Loop
from flaxner.training.prediction import Tags
from flaxner.training.preparation import Prepared
from flaxner.training.stopping import Interruption

# A head over fixed vectors needs other settings than a whole BERT: a high learning rate, more
# epochs and, as its steps are tiny, larger batches.
HEAD_SETTINGS: dict[str, Any] = {"epochs": 20.0, "batch_size": 256, "weight_decay": 0.0}
PLAIN: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(RecipeSettings)}
EVALUATED_EPOCHS = 2  # epochs between a head's evaluations on the validation split


class Trial(NamedTuple):
    """A point of the grid from which every head gets its best, by validation F1.

    Attributes:
      learning_rate: peak learning rate.
      scaling: scaling of the vectors: "length" divides all numbers by the same one, "standard"
        gives each column mean 0 and variance 1; both are measured on the words of the training
        split.
    """

    learning_rate: float
    scaling: str


GRID = tuple(Trial(rate, how) for how in ("standard", "length") for rate in (1e-2, 3e-3, 3e-2))
TableRows = Callable[[str, list[Sentence]], np.ndarray]


class BestHead:
    """A `Keeper` that keeps the best head in memory; a BERT run writes checkpoints to disk instead.

    Attributes:
      head: path -> array of the trained parameters; empty before the first evaluation.
    """

    def __init__(self) -> None:
        self.head: dict[str, np.ndarray] = {}

    def save(
        self, state: TrainState, progress: Progress, fingerprint: Mapping[str, Any], published: Any
    ) -> None:
        """Keep the trained parameters if they are the best so far."""
        if progress.best_step == int(state.step):
            self.head = {k: np.array(v) for k, v in state.params.items() if k != TABLE}

    def wait(self) -> None:
        """Return at once: nothing is pending."""


class Head(NamedTuple):
    """A trained head.

    Attributes:
      tags: predicted tags of the test split.
      validation_f1: validation F1 of the chosen trial; None without a validation split.
      trials: all trials, for comparison.json; the chosen one is marked.
      seconds: time taken by all trials and by scoring.
    """

    tags: Tags
    validation_f1: float | None
    trials: list[dict[str, Any]]
    seconds: float


def train_head(
    config: TrainConfig,
    corpora: Mapping[str, Corpus],
    scheme: LabelScheme,
    table: np.ndarray,
    rows: TableRows,
    *,
    window: int,
    folder: Path,
    console: Console,
    grid: Sequence[Trial] = GRID,
) -> Head:
    """Train a linear layer (window 0) or a window MLP over a table of vectors.

    Every trial of the grid is trained, and the one with the best validation F1 is kept (the first
    of equals); only that one sees the test split. Without a validation split, only the first
    trial is trained.

    Args:
      config: settings of the BERT run to compare with, which provides seed and corpora.
      corpora: split -> corpus, with a test split.
      scheme: label table.
      table: (rows, width), padding and unknown first.
      rows: (split, sentences) -> the row of every word.
      window: words seen on each side.
      folder: where each trial's metrics.jsonl goes.
      console: for the progress bar.
      grid: the trials.
    """
    begin = time.monotonic()
    validated = "validation" in corpora
    segments = {
        split: word_segments(corpus, rows(split, corpus.sentences), scheme)
        for split, corpus in corpora.items()
    }
    prepared = _prepared(config, corpora, scheme, segments)
    quiet = terminal.console(Console(file=console.file, quiet=not console.is_terminal))
    best: tuple[Loop, Mapping[str, Any]] | None = None
    scores: list[float] = []
    with Interruption(console.print) as interruption:
        for trial in grid if validated else grid[:1]:
            vectors = scaled(table, segments["train"].input_ids, trial.scaling)
            run = RunFolder(folder / f"{trial.scaling} {trial.learning_rate:g}")
            loop = Loop(_tried(prepared, trial, vectors, window), run, quiet, interruption)
            kept = BestHead()
            state = loop.train(loop.initial_state(), kept)
            scores.append(loop.progress.best_score)
            if best is None or scores[-1] > max(scores[:-1]):
                best = loop, {**state.params, **kept.head}
        assert best is not None, "a grid has a trial"
        loop, params = best
        tags = loop.judge.score("test", params)[1]
    chosen = int(np.argmax(scores))
    trials = [
        {**trial._asdict(), "validation_f1": score if validated else None, "chosen": i == chosen}
        for i, (trial, score) in enumerate(zip(grid, scores, strict=False))
    ]
    return Head(tags, trials[chosen]["validation_f1"], trials, time.monotonic() - begin)


def _prepared(
    config: TrainConfig,
    corpora: Mapping[str, Corpus],
    scheme: LabelScheme,
    segments: dict[str, Segments],
) -> Prepared:
    """Prepare what all trials share: everything but the model."""
    longest = max(int(s.lengths.max(initial=1)) for s in segments.values())
    length = max(128, longest)
    per_epoch = -(-len(corpora["train"]) // HEAD_SETTINGS["batch_size"])
    config = config.replace(
        max_length=length, row_length=length, resume=False, save_every=0,
        eval_every=EVALUATED_EPOCHS * per_epoch, context="sentences",
        context_share=CONTEXT_SHARE, **PLAIN, **HEAD_SETTINGS,
    )  # fmt: skip
    model: Any = None
    return Prepared(
        config=config, corpora=dict(corpora), scheme=scheme, tokenizer=None, model=model,
        params={}, fields={}, fresh=[], segments=segments,
    )  # fmt: skip


def _tried(prepared: Prepared, trial: Trial, table: np.ndarray, window: int) -> Prepared:
    """Prepare one trial."""
    sizes = StaticConfig(len(table), table.shape[1], len(prepared.scheme), window=window)
    model: Any = StaticModel(sizes)
    config = prepared.config.replace(learning_rate=trial.learning_rate)
    params = model.init(config.seed, table)
    return dataclasses.replace(prepared, config=config, model=model, params=params)


def scaled(table: np.ndarray, used: np.ndarray, how: str) -> np.ndarray:
    """Rescale the table, see `Trial`; the rows of padding and unknown words stay as they are.

    Args:
      table: (rows, width).
      used: rows of the words of the training split.
      how: "standard" or "length".
    """
    sample = table[used[used >= FIRST]]
    shift, scale = np.float32(0.0), np.sqrt(np.mean(np.square(sample)) if len(sample) else 1.0)
    if how == "standard" and len(sample):
        shift, scale = sample.mean(axis=0), sample.std(axis=0)
    out = table.copy()
    out[FIRST:] = (table[FIRST:] - shift) / np.maximum(scale, 1e-6)
    return out


def word_segments(corpus: Corpus, rows: np.ndarray, scheme: LabelScheme) -> Segments:
    """Return a corpus as segments of whole words: one per sentence, no special tokens."""
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
) -> tuple[np.ndarray, TableRows, dict[str, float]]:
    """Collect the vectors of the words that occur in the corpora.

    Returns:
      the table, the function that gives the row of every word, and the fraction of words without
      a vector: for each split, and under "SPLIT names" for its words in entities.
    """
    used = (vectors.row(w) for c in corpora.values() for s in c for w in s.words)
    chosen = np.asarray(sorted({row for row in used if row is not None}), np.int64)
    place = {row: FIRST + i for i, row in enumerate(chosen.tolist())}
    table = _table(vectors.matrix[chosen])

    def rows(split: str, sentences: list[Sentence]) -> np.ndarray:
        numbers = (vectors.row(word) for sentence in sentences for word in sentence.words)
        return np.asarray([UNKNOWN if row is None else place[row] for row in numbers], np.int32)

    missing = {}
    for split, corpus in corpora.items():
        unknown = rows(split, corpus.sentences) == UNKNOWN
        inside = np.asarray([tag != "O" for s in corpus for tag in s.tags or ()])
        missing[split] = float(unknown.mean())
        missing[f"{split} names"] = float(unknown[inside].mean()) if inside.any() else 0.0
    return table, rows, missing


def contextual_table(
    encoder: ContextualEncoder, corpora: Mapping[str, Corpus]
) -> tuple[np.ndarray, TableRows]:
    """Make one row per occurrence: a frozen BERT's vector of each word in its sentence."""
    vectors = {split: encoder.encode(corpus.sentences) for split, corpus in corpora.items()}
    begins = dict(zip(vectors, np.cumsum([0, *map(len, vectors.values())]), strict=False))
    table = _table(np.concatenate(list(vectors.values())))

    def rows(split: str, sentences: list[Sentence]) -> np.ndarray:
        return FIRST + begins[split] + np.arange(len(vectors[split]))

    return table, rows


def _table(vectors: np.ndarray) -> np.ndarray:
    """Prepend rows for padding and unknown words to the vectors."""
    empty = np.zeros((FIRST, vectors.shape[1]), np.float32)
    return np.concatenate([empty, vectors]).astype(np.float32)
