"""The end of a run: scores of the best model, predictions, results.json, the Hub folder."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from flaxner import processes
from flaxner.batches import TrainBatches
from flaxner.checkpoint import Progress
from flaxner.evaluation import Advance, Tags, predict_labels, score_labels
from flaxner.export import export_folder
from flaxner.history import write_history
from flaxner.metrics import NerReport
from flaxner.mistakes import Predicted
from flaxner.model_card import model_card
from flaxner.preparation import Prepared
from flaxner.progress import score_table
from flaxner.run_folder import RunFolder, write_json, write_predictions
from flaxner.step import Steps


class Judge:
    """Scores parameters on the splits of a run, over all its devices."""

    def __init__(self, prepared: Prepared, steps: Steps, mesh: Mesh) -> None:
        self.prepared, self.steps, self.mesh = prepared, steps, mesh
        self.rows = self._rows()

    def _rows(self) -> int:
        """Rows of an evaluation batch: one number for all splits, so one compilation."""
        config, devices = self.prepared.config, self.mesh.size
        most = max(
            -(-int(segments.lengths.sum()) // config.row_length) + 1
            for split, segments in self.prepared.segments.items()
            if split != "train" or len(self.prepared.segments) == 1
        )
        return -(-min(config.eval_batch_size, most) // devices) * devices

    def score(
        self, split: str, params: Any, advance: Advance = lambda done: None
    ) -> tuple[NerReport, Tags]:
        """The report and the predicted tags, the same in every process."""
        corpus, segments = self.prepared.corpora[split], self.prepared.segments[split]
        labels = predict_labels(
            self.steps,
            params,
            segments,
            self.mesh,
            row_length=self.prepared.config.row_length,
            num_rows=self.rows,
            advance=advance,
        )
        return score_labels(labels, corpus, self.prepared.scheme.tags)


def compiled(
    earlier: tuple[tuple[str, int, int, int], ...], traces: list[tuple[str, int, int]]
) -> tuple[tuple[str, int, int, int], ...]:
    """Programs and shapes compiled so far, each with its count in the session that had most.

    So a run that was interrupted counts as one that was not.
    """
    counts = {(name, rows, length): times for name, rows, length, times in earlier}
    for trace in set(traces):
        counts[trace] = max(counts.get(trace, 0), traces.count(trace))
    return tuple((*shape, times) for shape, times in sorted(counts.items()))


def train_results(
    prepared: Prepared, batches: TrainBatches, mesh: Mesh, progress: Progress
) -> dict[str, Any]:
    """The "train" part of results.json."""
    tokens = sum(batches.tokens_at(step) for step in range(batches.num_steps))
    return {
        "steps": batches.num_steps,
        "best_step": progress.best_step,
        "seconds": round(progress.seconds, 3),
        "tokens_per_second": round(tokens / max(progress.seconds, 1e-9), 1),
        "fill": round(batches.fill(), 4),
        "compilations": sum(times for *_, times in progress.compiled),
        "shapes": [list(shape) for *shape, _ in progress.compiled],
        "devices": mesh.size,
        "processes": jax.process_count(),
        "device_kind": jax.devices()[0].device_kind,
        "precision": prepared.config.precision,
    }


def finish(
    judge: Judge, run: RunFolder, console: Console, params: dict[str, np.ndarray] | Any
) -> tuple[dict[str, Any], dict[str, Tags]]:
    """Score the best model on validation and test; show the tables."""
    results: dict[str, Any] = {}
    tags: dict[str, Tags] = {}
    for split in ("validation", "test"):
        if split in judge.prepared.corpora:
            scores, tags[split] = judge.score(split, params)
            results[split] = scores.to_dict()
            corpus = judge.prepared.corpora[split]
            console.print(score_table(f"{split} ({corpus.source})", results[split]))
    return results, tags


def write(
    prepared: Prepared,
    run: RunFolder,
    params: dict[str, np.ndarray],
    results: dict[str, Any],
    tags: dict[str, Tags],
) -> None:
    """Predictions, Hub folder and, last, results.json: once it is there, the run has ended."""
    if not processes.is_main():
        return
    predictions: dict[str, list[Predicted]] = {}
    for split, predicted in tags.items():
        corpus = prepared.corpora[split]
        predictions[split] = [
            Predicted(sentence.words, sentence.tags or (), tuple(row))
            for sentence, row in zip(corpus, predicted, strict=True)
        ]
        write_predictions(
            run.predictions / f"{split}.conll",
            ((sentence.words, sentence.gold, sentence.tags) for sentence in predictions[split]),
        )
    export_folder(
        run.hub,
        prepared.model,
        params,
        prepared.scheme,
        prepared.tokenizer,
        fields=prepared.fields,
        max_length=prepared.config.max_length,
        card=model_card(prepared.config, prepared.scheme, results, predictions=predictions),
        more=lambda draft: write_history(draft, run, results),
    )
    write_json(run.results, results)


def announce(prepared: Prepared, batches: TrainBatches, mesh: Mesh, console: Console) -> None:
    """What is about to be trained, on what."""
    config = prepared.config
    for split, corpus in prepared.corpora.items():
        notes = f"{len(corpus):,} sentences, {corpus.words:,} words, {corpus.scheme}"
        if corpus.repaired:
            notes += f", {corpus.repaired:,} tags repaired"
        windowed = prepared.segments[split].windowed
        if windowed:
            notes += f", {windowed:,} sentences over {config.max_length} tokens in windows"
        notes = "; ".join((notes, *corpus.notes))
        console.print(f"{split}: {corpus.source}: {notes}", highlight=False)
    if prepared.fresh:
        console.print(f"drawn from seed {config.seed}: {', '.join(prepared.fresh)}")
    for warning in prepared.warnings:
        console.print(f"note: {warning}", highlight=False)
    if "validation" not in prepared.corpora:
        console.print(
            "no validation corpus: the last model is kept (--held-out 0.1 holds a part of the "
            "training corpus out, --cross-validation 5 makes folds)",
            highlight=False,
        )
    kind, many = jax.devices()[0].device_kind, jax.process_count()
    console.print(
        f"{config.model} on {mesh.size} x {kind}"
        + (f" of {many} processes" if many > 1 else "")
        + f", {config.precision}: "
        f"{batches.num_steps:,} steps of {config.batch_size} sentences, "
        f"rows of {config.row_length} filled {batches.fill():.0%}",
        highlight=False,
    )
