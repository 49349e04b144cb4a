"""Cross-validation: one run a fold, and what their scores are on average."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from flaxner.config.train import TrainConfig
from flaxner.devices import processes
from flaxner.evaluation.metrics import score
from flaxner.publishing.history import read_run_predictions
from flaxner.runs.folder import RunFolder
from flaxner.training.preparation import sources

OVERALL = ("overall_precision", "overall_recall", "overall_f1", "overall_accuracy")
BY_TYPE = ("precision", "recall", "f1")

# Train one fold: its settings, its folder, and what to call when all is read and checked, before
# anything is written; gives results.json.
TrainFold = Callable[[TrainConfig, RunFolder, Callable[[], None]], Mapping[str, Any]]


def cross_validate(
    config: TrainConfig, console: Console, train_fold: TrainFold
) -> tuple[Path, dict[str, Any]]:
    """Train and score every fold; a fold that has ended is not repeated on `--resume`.

    Args:
      config: with `cross_validation` folds.
      console: where progress goes.
      train_fold: trains one.

    Returns:
      the Hub folder of the fold with the best validation F1, and the content of results.json.

    Raises:
      ValueError: as `train`; before the first fold nothing has been written.
    """
    run = RunFolder(config.output_dir)
    run.check(overwrite=config.overwrite, resume=config.resume, reading=sources(config))
    begun: list[bool] = []

    def begin() -> None:
        if begun:
            return
        begun.append(True)
        run.lock()
        run.claim(overwrite=config.overwrite)
        run.reopen()
        run.write_settings(config.replace(resume=False, overwrite=False))

    if config.select == "best":
        console.print(
            "the epoch of each fold is chosen on the fold itself, which flatters the scores: "
            "--select last does not choose",
            highlight=False,
        )
    folds = [RunFolder(fold_folder(run.path, i)) for i in range(1, config.cross_validation + 1)]
    results = []
    try:
        for number, fold in enumerate(folds, 1):
            console.print(f"fold {number} of {len(folds)}: {fold.path}", highlight=False)
            fold.restart = run.config
            changes = {"fold": number, "output_dir": str(fold.path)}
            results.append(train_fold(config.replace(**changes), fold, begin))
        summary = summarise(results) | {"pooled": pooled(folds)}
        if processes.is_main():
            run.write_results(summary)
        kept = run.ended()
    finally:
        run.release()
    for line in [*kept, *summary_lines(summary)]:
        console.print(line, highlight=False)
    best = max(range(len(folds)), key=lambda i: results[i]["validation"]["overall_f1"])
    return folds[best].hub, summary


def fold_folder(path: Path, number: int) -> Path:
    """The folder of a fold, counted from 1."""
    return path / f"fold-{number}"


def summarise(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation (of a sample, n - 1) of the folds' scores, and each of them."""
    summary: dict[str, Any] = {"folds": len(results)}
    for split in ("validation", "test"):
        reports = [result[split] for result in results if split in result]
        if not reports:
            continue
        types = sorted({kind for report in reports for kind in report["per_type"]})
        summary[split] = {name: _spread([report[name] for report in reports]) for name in OVERALL}
        summary[split]["per_type"] = {
            kind: {
                name: _spread([r["per_type"][kind][name] for r in reports if kind in r["per_type"]])
                for name in BY_TYPE
            }
            for kind in types
        }
        for name in ("words_in_corpus", "words_scored"):
            summary[split][name] = [report[name] for report in reports]
    summary["train"] = {
        name: [result["train"][name] for result in results]
        for name in ("steps", "best_step", "seconds")
    }
    return summary


def _spread(values: Sequence[float]) -> dict[str, Any]:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "std": deviation, "folds": list(values)}


def pooled(folds: Sequence[RunFolder]) -> dict[str, Any]:
    """The folds' validation predictions scored as one corpus: every sentence once, unseen."""
    folded = [read_run_predictions(fold)["validation"] for fold in folds]
    sentences = [sentence for fold in folded for sentence in fold]
    gold = [list(sentence.gold) for sentence in sentences]
    predicted = [list(sentence.tags) for sentence in sentences]
    return dataclasses.asdict(
        score(gold, predicted, words_in_corpus=sum(len(s.words) for s in sentences))
    )


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """The summary in lines."""
    lines = []
    for split in ("validation", "test"):
        if split in summary:
            parts = [
                f"{name.removeprefix('overall_')} {value['mean']:.4f} ± {value['std']:.4f}"
                for name, value in summary[split].items()
                if name in OVERALL
            ]
            lines.append(f"{split}, mean of {summary['folds']} folds: {', '.join(parts)}")
    f1 = summary["pooled"]["overall_f1"]
    return [*lines, f"validation of all folds pooled: f1 {f1:.4f}"]
