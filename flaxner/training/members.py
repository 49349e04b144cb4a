"""Several runs in one folder, the folds of a cross-validation or seeds, and their mean scores."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console

from flaxner.config.train import TrainConfig
from flaxner.devices import processes
from flaxner.reporting.page import write_page
from flaxner.reporting.record import read_runs
from flaxner.runs.folder import RunFolder
from flaxner.runs.steps import StepFolders
from flaxner.training.fingerprint import of_member, refuse_another
from flaxner.training.preparation import sources

OVERALL = ("overall_precision", "overall_recall", "overall_f1", "overall_accuracy")
BY_TYPE = ("precision", "recall", "f1")

# Train one: its settings, its folder, and the whole, whose `begin` and `accept` are to be called;
# gives results.json.
TrainOne = Callable[[TrainConfig, RunFolder, "Whole"], Mapping[str, Any]]


class Member(NamedTuple):
    """One of the runs.

    Attributes:
      title: what it is called on the way.
      config: its settings.
      run: its folder, in that of the whole.
    """

    title: str
    config: TrainConfig
    run: RunFolder


class Whole:
    """The folder of all of them: claimed when the first has been checked, released at the end."""

    def __init__(self, config: TrainConfig, members: Sequence[Member]) -> None:
        self.config, self.members = config, members
        self.run = RunFolder(config.output_dir)
        self._begun = self._accepted = False
        for member in members:
            member.run.restart = self.run.config

    def check(self) -> None:
        """Refuse a folder that is not ours to write, before anything is computed.

        Raises:
          ValueError: as `RunFolder.check`; or it is to be continued and holds other runs.
        """
        config = self.config
        self.run.check(overwrite=config.overwrite, resume=config.resume, reading=sources(config))
        refuse_others(config, self.run, self.members)

    def begin(self) -> None:
        """Take the folder; called when a member has been read and checked, before it writes."""
        if self._begun:
            return
        self._begun = True
        self.run.lock()
        self.run.claim(overwrite=self.config.overwrite)

    def accept(self, fingerprint: Mapping[str, Any]) -> None:
        """Write the settings; called when what a member goes on from was found to be of them.

        Args:
          fingerprint: of that member.

        Raises:
          ValueError: what another would go on from is not of them.
        """
        if self._accepted:
            return
        for member in self.members if self.config.resume else ():
            self._compare(member, fingerprint)
        self._accepted = True
        if processes.on_main(lambda: any(not m.run.results.is_file() for m in self.members)):
            self.run.reopen()
        self.run.write_settings(self.config.replace(resume=False, overwrite=False))

    def _compare(self, member: Member, fingerprint: Mapping[str, Any]) -> None:
        """Refuse a member whose checkpoint is of other settings, or other corpora."""
        kept = StepFolders(member.run.checkpoints)
        newest = processes.on_main(lambda: max(kept.steps(), default=None))
        if newest is None:
            return
        try:
            _, theirs = kept.describe(newest)
        except (OSError, ValueError, KeyError):  # damaged: the member goes on from another
            return
        own = {**fingerprint, "seed": member.config.seed, "fold": member.config.fold}
        folds = bool(self.config.cross_validation)
        refuse_another(member.run.path, of_member(own, theirs, folds=folds), theirs)

    def train_each(self, train_one: TrainOne, console: Console) -> list[Mapping[str, Any]]:
        """Train one after the other; results.json of each."""
        results = []
        for title, config, run in self.members:
            console.print(f"{title}: {run.path}", highlight=False)
            results.append(train_one(config, run, self))
        return results

    def end(self, summary: dict[str, Any]) -> list[str]:
        """Write the page and results.json; gives what is to be said of the folder, in sentences."""
        return [*processes.on_main(lambda: self._write(summary)), *self.run.ended()]

    def _write(self, summary: dict[str, Any]) -> list[str]:
        said = write_page(self.run, lambda: read_runs(self.run.path))
        self.run.write_results(summary)
        return said


def refuse_others(config: TrainConfig, run: RunFolder, members: Sequence[Member] = ()) -> None:
    """Refuse to continue a folder as what it is not: one run, folds or seeds.

    Args:
      config: the settings; without `resume` there is nothing to refuse.
      run: the folder.
      members: the runs in it that the settings name.

    Raises:
      ValueError: it holds another run, and which.
    """
    if config.resume:
        processes.on_main(lambda: _refuse_others(run, members))


def _refuse_others(run: RunFolder, members: Sequence[Member]) -> None:
    named = {member.run.path for member in members}
    others = [path for path in run.members() if path not in named]
    if others:
        raise ValueError(
            f"cannot resume {run.path}: it holds {others[0].name}, which the settings do not name; "
            "give at least the --seeds, or the --cross-validation, that it was begun with"
        )
    if members and StepFolders(run.checkpoints).steps():
        raise ValueError(
            f"cannot resume {run.path}: it is a single run, without --seeds and --cross-validation"
        )


def summarise(results: Sequence[Mapping[str, Any]], each: str) -> dict[str, Any]:
    """Mean and standard deviation (of a sample, n - 1) of scores, and each of them.

    Args:
      results: results.json of every run.
      each: what the runs are, "folds" or "seeds": the name of the single scores.
    """
    summary: dict[str, Any] = {}
    for split in ("validation", "test"):
        reports = [result[split] for result in results if split in result]
        if not reports:
            continue
        types = sorted({kind for report in reports for kind in report["per_type"]})
        summary[split] = {name: _spread([r[name] for r in reports], each) for name in OVERALL}
        summary[split]["per_type"] = {
            kind: {
                name: _spread(
                    [r["per_type"][kind][name] for r in reports if kind in r["per_type"]], each
                )
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


def _spread(values: Sequence[float], each: str) -> dict[str, Any]:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "std": deviation, each: list(values)}


def mean_lines(summary: Mapping[str, Any], what: str) -> list[str]:
    """Means and deviations of both splits, a line each; `what` says of how many runs."""
    lines = []
    for split in ("validation", "test"):
        if split in summary:
            parts = [
                f"{name.removeprefix('overall_')} {value['mean']:.4f} ± {value['std']:.4f}"
                for name, value in summary[split].items()
                if name in OVERALL
            ]
            lines.append(f"{split}, mean of {what}: {', '.join(parts)}")
    return lines
