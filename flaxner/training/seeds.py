"""Several seeds: one run each, their scores on average, and the best of them published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from flaxner.config.train import TrainConfig
from flaxner.devices import processes
from flaxner.publishing.best_seed import publish_seed
from flaxner.runs.folder import RunFolder
from flaxner.training.members import Member, TrainOne, Whole, mean_lines, summarise


def train_seeds(
    config: TrainConfig, console: Console, train_one: TrainOne
) -> tuple[Path, dict[str, Any]]:
    """Train and score with every seed; one that has ended is not repeated on `--resume`.

    Each is an ordinary run, the same as alone. `--resume` with more seeds adds the new ones.

    Args:
      config: with several `seeds`.
      console: where progress goes.
      train_one: trains one.

    Returns:
      the Hub folder, with the model of the best seed, and the content of results.json.

    Raises:
      ValueError: as `train`; before the first seed nothing has been written.
    """
    whole = Whole(config, [_member(config, i) for i in range(config.seeds)])
    whole.check()
    try:
        results = whole.train_each(train_one, console)
        seeds = [member.config.seed for member in whole.members]
        best = best_of(results)
        summary = {"seeds": seeds, "best_seed": seeds[best], **summarise(results, "seeds")}
        said = processes.on_main(lambda: publish_seed(whole.run, whole.members[best].run, summary))
        said += whole.end(summary)
    finally:
        whole.run.release()
    console.print(seeds_table(summary))
    for line in [*said, *mean_lines(summary, f"{len(seeds)} seeds"), _choice(whole.run, summary)]:
        console.print(line, highlight=False)
    return whole.run.hub, summary


def _member(config: TrainConfig, index: int) -> Member:
    """The run of a seed, counted from 0."""
    seed = config.seed + index
    folder = Path(config.output_dir) / f"seed-{seed}"
    own = config.replace(seed=seed, seeds=1, output_dir=str(folder))
    return Member(f"seed {seed}, {index + 1} of {config.seeds}", own, RunFolder(folder))


def best_of(results: Sequence[Mapping[str, Any]]) -> int:
    """Index of the best by validation F1; of equals, or without a validation split, the first."""
    scores = [result.get("validation", {}).get("overall_f1", 0.0) for result in results]
    return scores.index(max(scores))


def _choice(run: RunFolder, summary: Mapping[str, Any]) -> str:
    chosen = "validation" in summary
    why = "the best on validation" if chosen else "the first, as no validation split decides"
    return f"model of seed {summary['best_seed']}, {why}: {run.hub}"


def seeds_table(summary: Mapping[str, Any]) -> Table:
    """F1 of every seed on both splits, their mean and standard deviation."""
    splits = [split for split in ("validation", "test") if split in summary]
    table = Table(title=f"F1 of {len(summary['seeds'])} seeds", title_justify="left")
    for column in ("seed", *splits):
        table.add_column(column, justify="right")
    f1 = [summary[split]["overall_f1"] for split in splits]
    for i, seed in enumerate(summary["seeds"]):
        mark = " *" if seed == summary["best_seed"] else ""
        table.add_row(f"{seed}{mark}", *(f"{of['seeds'][i]:.4f}" for of in f1))
    table.add_section()
    table.add_row("mean", *(f"{of['mean']:.4f} ± {of['std']:.4f}" for of in f1))
    return table
