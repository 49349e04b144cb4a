"""A run -> one JSON-like structure of numbers and texts, which a template shows."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from flaxner.config.train import TrainConfig
from flaxner.evaluation.calibration import Found, expected_error, reliability
from flaxner.evaluation.mistakes import KINDS, confusion_table
from flaxner.evaluation.predictions import Predicted
from flaxner.evaluation.word_scores import WordScores
from flaxner.reporting.browsing import browsable
from flaxner.reporting.judged import judge
from flaxner.reporting.measures import grouped_scores
from flaxner.reporting.record import RunRecord
from flaxner.runs.paths import RunPaths
from flaxner.typed_commands import command_line

CURVES = (("loss", "loss"), ("learning_rate", "learning rate"), ("grad_norm", "gradient norm"))
SPEED = "tokens/s"


def structure(record: RunRecord, budget: int) -> dict[str, Any]:
    """Return what a page shows about a run.

    Args:
      record: the run.
      budget: size limit of the errors on the page, in bytes.
    """
    results = record.results
    splits = [split for split in ("test", "validation") if record.predictions.get(split)]
    return {
        "name": str(record.path),
        "notes": list(record.notes),
        "scores": {
            split: {
                name: results[split][f"overall_{name}"] for name in ("precision", "recall", "f1")
            }
            for split in ("validation", "test")
            if "overall_f1" in results.get(split, {})
        },
        "curves": {**curves(record.metrics), **speeds(record.speed)},
        "splits": [_split(record, split, budget // max(1, len(splits))) for split in splits],
        "temperature": results.get("calibration", {}).get("temperature"),
        "facts": facts(results),
        "settings": settings(record.config),
        "commands": commands(record),
    }


def curves(metrics: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Return title -> (step, value) points from metrics.jsonl."""
    steps = [row for row in metrics if "split" not in row]
    curves = {
        title: [(row["step"], row[name]) for row in steps if name in row] for name, title in CURVES
    }
    evaluated = [row for row in metrics if row.get("split") == "validation" and "f1" in row]
    curves["validation F1"] = [(row["step"], row["f1"]) for row in evaluated]
    return {title: points for title, points in curves.items() if points}


def speeds(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Return title -> (step, tokens per second since the previous line) from speed.jsonl."""
    points = [
        (row["step"], row["tokens"] / (row["seconds"] - before["seconds"]))
        for before, row in itertools.pairwise(rows)
        if row["tokens"] and row["seconds"] > before["seconds"]
    ]
    return {SPEED: points} if points else {}


def _split(record: RunRecord, split: str, budget: int) -> dict[str, Any]:
    sentences, scores = record.predictions[split], record.scores.get(split)
    judged = judge(sentences, None if scores is None else scores.scores)
    counts, both = dict.fromkeys(KINDS, 0), 0
    for sentence in judged:
        for error in sentence.errors():
            both += len(error.kinds) > 1
            for kind in error.kinds:
                counts[kind] += 1
    return {
        "name": split,
        "sentences": len(sentences),
        "groups": grouped_scores(judged, record.known),
        "confusion": confusion_table(sentences)._asdict(),
        "kinds": counts,
        "both": both,
        "errors": browsable(judged, record.known, budget),
        "calibration": calibrated(record, sentences, scores),
    }


def calibrated(
    record: RunRecord, sentences: Sequence[Predicted], scores: WordScores | None
) -> list[dict[str, Any]]:
    """Return the reliability of plain scores and, if a temperature is known, calibrated ones."""
    if scores is None or record.scheme is None:
        return []
    entities = Found.of(sentences, record.scheme.label2id)
    heat = record.results.get("calibration", {}).get("temperature")
    if not len(entities):
        return []
    sets = [("uncalibrated scores", entities.plain_scores(scores.scores))]
    if heat is not None and scores.logits is not None:
        sets.append(("calibrated scores", entities.scores(scores.logits, heat)))
    rows = []
    for title, sure in sets:
        bins = reliability(sure, entities.right)
        error = expected_error(bins)
        rows.append({"title": title, "error": error, "bins": [part._asdict() for part in bins]})
    return rows


def facts(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return figures of the run, for the table."""
    train = results.get("train", {})
    shown = {
        "steps": "{:,}",
        "best_step": "{:,}",
        "seconds": "{:,.0f}",
        "tokens_per_second": "{:,.0f}",
        "fill": "{:.1%}",
        "compilations": "{}",
        "devices": "{}",
        "device_kind": "{}",
        "processes": "{}",
        "precision": "{}",
    }
    rows = [(name, form.format(train[name])) for name, form in shown.items() if name in train]
    versions = train.get("versions", {})
    return [*rows, *((f"{package} version", str(value)) for package, value in versions.items())]


def settings(config: TrainConfig) -> list[tuple[str, str, bool]]:
    """Return every setting of the run: name, value, whether it differs from the default."""
    rows = []
    for field in dataclasses.fields(config):
        if field.metadata.get("of_process") or field.name in ("resume", "overwrite"):
            continue
        value = getattr(config, field.name)
        text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        rows.append((field.name, "not set" if value is None else text, value != field.default))
    return rows


def commands(record: RunRecord) -> list[tuple[str, str]]:
    """Return the commands that repeat the run, publish it and use it, or else continue it."""
    path = record.path
    again = ("train", "--config", path / "config.toml")
    lines = {
        "repeat": (*again, "--output-dir", RunPaths(path).beside("-again")),
        "convert and compare with PyTorch": ("convert", path, "--verify"),
        "serve": ("serve", "--model", path / "hub"),
        "find entities": ("predict", "--model", path / "hub", "A text."),
    }
    if not record.results:
        lines = {"continue": (*again, "--resume")}
    return [
        (what, command_line(str(name), *map(str, rest))) for what, (name, *rest) in lines.items()
    ]
