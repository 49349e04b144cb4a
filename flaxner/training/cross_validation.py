"""Cross-validation: one run per fold, and the mean of their scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from flaxner.config.train import TrainConfig
from flaxner.devices.processes import on_main
from flaxner.evaluation.metrics import score
from flaxner.publishing.history import read_run_predictions
from flaxner.runs.folder import RunFolder
from flaxner.training.members import Member, Whole, best_of, mean_lines, summarise
from flaxner.training.session import train_member
from flaxner.training.watching import Watch


def cross_validate(
    config: TrainConfig, console: Console, watch: Watch
) -> tuple[Path, dict[str, Any]]:
    """Train and score every fold; on `--resume`, folds that have ended are not repeated.

    Args:
      config: settings with `cross_validation` folds.
      console: where progress is shown.
      watch: called after every evaluation of every fold.

    Returns:
      The Hub folder of the fold with the best validation F1, and the contents of results.json.

    Raises:
      ValueError: as for `train`; nothing is written before the first fold has been checked.
    """
    whole = Whole(config, [_fold(config, i) for i in range(1, config.cross_validation + 1)])
    whole.check()
    if config.select == "best":
        console.print(
            "the best epoch of each fold is selected on the fold itself, which makes the scores "
            "optimistic; --select last avoids this"
        )
    folds = [member.run for member in whole.members]
    try:
        results = [
            train_member(_with_rows(fold, whole.row_length), whole, console, watch)
            for fold in whole.members
        ]
        of_all = on_main(lambda: pooled(folds))
        summary = {"folds": len(folds), **summarise(results, "folds"), "pooled": of_all}
        kept = whole.end(summary)
    finally:
        whole.run.release()
    for line in [*kept, *summary_lines(summary)]:
        console.print(line)
    return folds[best_of(results)].hub, summary


def _fold(config: TrainConfig, number: int) -> Member:
    """Return the run of a fold, counting from 1."""
    folder = Path(config.output_dir) / f"fold-{number}"
    title = f"fold {number} of {config.cross_validation}"
    return Member(title, config.replace(fold=number, output_dir=str(folder)), RunFolder(folder))


def _with_rows(fold: Member, row_length: int) -> Member:
    """Return a fold with the row length of those before it: all share a compiled program."""
    return fold._replace(config=fold.config.replace(row_length=row_length))


def pooled(folds: Sequence[RunFolder]) -> dict[str, Any]:
    """Score the folds' validation predictions as one corpus: each sentence once, held out."""
    folded = [read_run_predictions(fold)["validation"] for fold in folds]
    sentences = [sentence for fold in folded for sentence in fold]
    gold = [list(sentence.gold) for sentence in sentences]
    predicted = [list(sentence.tags) for sentence in sentences]
    return dataclasses.asdict(
        score(gold, predicted, words_in_corpus=sum(len(s.words) for s in sentences))
    )


def summary_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the lines of the summary."""
    f1 = summary["pooled"]["overall_f1"]
    lines = mean_lines(summary, f"{summary['folds']} folds")
    return [*lines, f"validation, all folds pooled: f1 {f1:.4f}"]
