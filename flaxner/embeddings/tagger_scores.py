"""F1 of taggers on static, frozen and fine-tuned vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from flaxner.data.corpus import Corpus
from flaxner.embeddings.contextual import ContextualEncoder
from flaxner.embeddings.heads import Head, contextual_table, static_table, train_head
from flaxner.embeddings.static import StaticVectors
from flaxner.evaluation.predictions import Predicted, read_predictions
from flaxner.evaluation.seen_unseen import split_scores, surfaces
from flaxner.runs.paths import RunPaths
from flaxner.training.prediction import Tags
from flaxner.training.preparation import Prepared

WINDOW = 2  # words on each side


def measure_taggers(
    prepared: Prepared,
    static: StaticVectors,
    encoder: ContextualEncoder,
    bert: RunPaths,
    logs: Path,
    console: Console,
) -> dict[str, Any]:
    """Train the heads, read the fine-tuned run's predictions, score all on the test split.

    Args:
      prepared: corpora, with a test split, label table and settings of the BERT run.
      static: word vectors.
      encoder: BERT before NER training, for the frozen vectors.
      bert: the finished run of the fine-tuned BERT.
      logs: a folder for the metrics.jsonl of every trial.
      console: for progress.

    Returns:
      "taggers", "oov" and "frozen_note" of the study.

    Raises:
      ValueError: the run's predictions are for another test split.
    """
    corpora = prepared.corpora
    known = surfaces(corpora["train"].sentences)
    table, rows, missing = static_table(static, corpora)
    frozen = f"{encoder.name}, frozen + linear"
    heads: list[tuple[str, int]] = [("static + linear", 0), ("static + window MLP", WINDOW)]
    rows_of_heads = [_head(prepared, table, rows, w, name, logs, console) for name, w in heads]
    table, rows = contextual_table(encoder, corpora)
    rows_of_heads.append(_head(prepared, table, rows, 0, frozen, logs, console))
    taggers = [
        {"name": name, **split_scores(corpora["test"], head.tags, known),
         "validation_f1": head.validation_f1, "grid": head.trials, "seconds": head.seconds}
        for name, head in rows_of_heads
    ]  # fmt: skip
    results = json.loads(bert.results.read_text("utf-8"))
    tags = read_run_tags(bert, corpora["test"])
    taggers.append(
        {"name": "BERT, fine-tuned", **split_scores(corpora["test"], tags, known),
         "validation_f1": results.get("validation", {}).get("overall_f1"), "grid": [],
         "seconds": results["train"]["seconds"]}
    )  # fmt: skip
    return {
        "taggers": taggers,
        "oov": missing,
        "frozen_note": "" if "random" not in encoder.name else
        "This BERT has no pretraining: its frozen vectors are those of its random start.",
    }  # fmt: skip


def _head(
    prepared: Prepared,
    table: Any,
    rows: Any,
    window: int,
    name: str,
    logs: Path,
    console: Console,
) -> tuple[str, Head]:
    folder = logs / name.replace(",", "").replace(" + ", " ")
    return name, train_head(
        prepared.config, prepared.corpora, prepared.scheme, table, rows,
        window=window, folder=folder, console=console,
    )  # fmt: skip


def read_run_tags(run: RunPaths, corpus: Corpus) -> Tags:
    """Read a run's predicted tags of the test split.

    Raises:
      ValueError: there are none, or they are for another corpus.
    """
    path = run.predictions / "test.conll"
    predictions = iter(read_predictions(path))
    tags: Tags = []
    for sentence in corpus:
        predicted = next(predictions, None) if sentence.words else Predicted((), (), ())
        if predicted is None or predicted.words != sentence.words:
            break
        tags.append(list(predicted.tags))
    if len(tags) < len(corpus) or next(predictions, None) is not None:
        raise ValueError(f"{path} does not hold the sentences of the test corpus {corpus.source}")
    return tags
