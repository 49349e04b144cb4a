"""The end of a run: scores of the best model, predictions, results.json, and the Hub folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from flaxner.data.batches import TrainBatches
from flaxner.evaluation import calibration
from flaxner.evaluation.calibration import Found, fit_temperature
from flaxner.evaluation.predictions import Predicted, predicted, write_predictions
from flaxner.evaluation.seen_unseen import digest, surfaces
from flaxner.evaluation.table import score_table
from flaxner.evaluation.word_scores import SUFFIX, WordScores, write_scores
from flaxner.models.crf import NAME as CRF
from flaxner.publishing.history import write_history
from flaxner.publishing.hub_folder import export_folder
from flaxner.publishing.model_card import model_card, versions
from flaxner.reporting.page import write_page
from flaxner.reporting.record import RunRecord, read_metrics, read_speed
from flaxner.runs.checkpoint import Progress
from flaxner.runs.folder import RunFolder
from flaxner.training.prediction import Judge
from flaxner.training.preparation import Prepared

# The scores reported for each word's most likely tag, in addition to those of the CRF.
OF_TORCH = (
    *(f"overall_{name}" for name in ("precision", "recall", "f1", "accuracy")),
    "per_type",
)
NOTHING_FOUND = (
    "the model finds no entities: it has hardly learnt anything; try more --epochs, a higher "
    "--learning-rate (a lower one if the loss rose) or a pretrained --model"
)
ALONE = "sentences_alone"  # scores of a model with document context, given one sentence at a time


def compiled(
    earlier: tuple[tuple[str, int, int, int], ...],
    traces: list[tuple[str, int, int]],
    row_counts: Collection[int],
) -> tuple[tuple[str, int, int, int], ...]:
    """Return the programs and shapes compiled so far, each with its highest count in any session.

    An interrupted run thus reports the same counts as an uninterrupted one.

    Args:
      earlier: what the run's checkpoint says.
      traces: what this session compiled, perhaps also for runs with other batches.
      row_counts: the row counts of this run's batches.
    """
    counts = {(name, rows, length): times for name, rows, length, times in earlier}
    for trace in {one for one in traces if one[0] != "train" or one[1] in row_counts}:
        counts[trace] = max(counts.get(trace, 0), traces.count(trace))
    return tuple((*shape, times) for shape, times in sorted(counts.items()))


def train_results(
    prepared: Prepared, batches: TrainBatches, mesh: Mesh, progress: Progress, steps: int
) -> dict[str, Any]:
    """Return the "train" part of results.json; planned_steps is included if `steps` is fewer."""
    tokens = sum(batches.tokens_at(step) for step in range(steps))
    planned = {} if steps == batches.num_steps else {"planned_steps": batches.num_steps}
    return {
        "steps": steps,
        **planned,
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
        "context": prepared.config.context,
        "names_digest": digest(surfaces(prepared.corpora["train"].sentences)),
        "versions": versions(),
    }


@dataclasses.dataclass(frozen=True)
class Answers:
    """The predictions of the best model for a split.

    Attributes:
      sentences: those with words, each with its annotated and predicted tags.
      logits: float32 (W, C).
      sure: the probability of each word's tag, float32 (W,).
    """

    sentences: list[Predicted]
    logits: np.ndarray
    sure: np.ndarray

    @property
    def scores(self) -> WordScores:
        """The confidences, in the form used by files and pages."""
        return WordScores(self.sure, self.logits)


def finish(
    judge: Judge, console: Console, params: dict[str, np.ndarray] | Any
) -> tuple[dict[str, Any], dict[str, Answers]]:
    """Score the best model on validation and test, and print the tables."""
    results: dict[str, Any] = {}
    answers: dict[str, Answers] = {}
    for split in ("validation", "test"):
        if split in judge.prepared.corpora:
            logits_WC, of_crf = judge.logits(split, params), judge.scores(params)
            labels, sure = judge.decode(split, logits_WC, of_crf)
            scores, tags = judge.report(split, labels)
            results[split] = scores.to_dict()
            if of_crf is not None:  # PyTorch's plain pipeline ignores the CRF
                most_likely, _ = judge.decode(split, logits_WC, None)
                plain = judge.report(split, most_likely)[0].to_dict()
                results[split] |= {"decoder": CRF, "argmax": {k: plain[k] for k in OF_TORCH}}
            if judge.prepared.config.in_documents:
                results[split][ALONE] = judge.score_alone(split, params, of_crf)
            corpus = judge.prepared.corpora[split]
            console.print(score_table(f"{split} ({corpus.source})", results[split]))
            if of_crf is not None:
                console.print(f"without the CRF, as in PyTorch: F1 {plain['overall_f1']:.4f}")
            if alone := results[split].get(ALONE):
                console.print(f"one sentence at a time, no document: F1 {alone['overall_f1']:.4f}")
            rows = predicted(corpus, tags, in_documents=judge.prepared.config.in_documents)
            answers[split] = Answers(rows, logits_WC, sure.astype(np.float32))
    if answers and not any(row.found for answer in answers.values() for row in answer.sentences):
        console.print(NOTHING_FOUND)
    results["calibration"] = _calibration(judge.prepared, answers)
    return results, answers


def divergence(log: Path, labels: int) -> list[str]:
    """Return one sentence if training diverged without reaching infinity, else nothing.

    The loss more than doubled, and its mean was above that of guessing: log(labels), which weights
    and smoothing do not change. It may be low at the end, when the learning rate is.

    Args:
      log: metrics.jsonl.
      labels: number of labels.
    """
    try:
        losses = [(line["loss"], line["step"]) for line in read_metrics(log) if "loss" in line]
        (first, begin), (most, at), (last, end) = losses[0], max(losses), losses[-1]
        if most <= 2 * first or np.mean([loss for loss, _ in losses]) <= np.log(labels):
            return []
    except (ValueError, TypeError, IndexError):  # no line, or others than a run writes
        return []
    return [
        f"training diverged: the loss was {first:.4g} at step {begin}, {most:.4g} at step {at} and "
        f"{last:.4g} at the last, {end}; try a lower --learning-rate or a higher --warmup-ratio"
    ]


def _calibration(prepared: Prepared, answers: Mapping[str, Answers]) -> dict[str, Any]:
    """Return the "calibration" part of results.json; the temperature is fitted on validation.

    A CRF's probabilities are its own marginals, which a temperature on the logits cannot calibrate.
    """
    found = {
        split: Found.of(answer.sentences, prepared.scheme.label2id)
        for split, answer in answers.items()
    }
    heat = None
    if "validation" in found and prepared.config.decoder != CRF:
        heat = fit_temperature(found["validation"], answers["validation"].logits)
    return {
        "temperature": heat,
        "fitted_on": None if heat is None else "validation",
        **{
            split: calibration.summary(found[split], answer.sure, answer.logits, heat)
            for split, answer in answers.items()
        },
    }


def write(
    prepared: Prepared,
    run: RunFolder,
    params: dict[str, np.ndarray],
    results: dict[str, Any],
    answers: dict[str, Answers],
) -> list[str]:
    """Write predictions, Hub folder, report and, last, results.json, which marks the run as ended.

    Called in the main process only.

    Returns:
      What a reader of these files must know, one sentence each.
    """
    said: list[str] = []
    config = prepared.config
    predictions = {split: answer.sentences for split, answer in answers.items()}

    def tagged(draft: Path) -> None:
        for split, sentences in predictions.items():
            said.extend(write_predictions(draft / f"{split}.conll", sentences))
            said.extend(write_scores(draft / f"{split}{SUFFIX}", answers[split].scores))

    said += run.write_predictions(tagged)
    export_folder(
        run.hub,
        prepared.model,
        params,
        prepared.scheme,
        prepared.tokenizer,
        fields=prepared.fields,
        max_length=config.max_length,
        context=config.context,
        tagging="IOB2",
        temperature=results["calibration"]["temperature"],
        card=model_card(
            config,
            prepared.scheme,
            prepared.model.encoder,
            results,
            predictions=predictions,
        ),
        more=lambda draft: write_history(draft, run, results),
        say=said.append,
    )
    said += divergence(run.metrics, len(prepared.scheme))
    said += write_page(
        run,
        lambda: [
            RunRecord(
                run.path,
                config,
                read_metrics(run.metrics),
                results,
                predictions,
                {split: answer.scores for split, answer in answers.items()},
                prepared.scheme,
                surfaces(prepared.corpora["train"].sentences),
                speed=read_speed(run.speed),
            )
        ],
    )
    run.write_results(results)
    return said
