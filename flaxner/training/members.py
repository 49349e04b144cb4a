"""Several runs in one folder (cross-validation folds or seeds), and their mean scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flaxner.config.train import TrainConfig
from flaxner.devices import processes
from flaxner.evaluation.metrics import spread
from flaxner.reporting.page import write_page
from flaxner.reporting.record import read_runs
from flaxner.runs.folder import RunFolder
from flaxner.runs.steps import StepFolders
from flaxner.training.fingerprint import of_member, refuse_another, told_by_settings
from flaxner.training.preparation import sources

OVERALL = ("overall_precision", "overall_recall", "overall_f1", "overall_accuracy")
BY_TYPE = ("precision", "recall", "f1")


class Member(NamedTuple):
    """One of the runs.

    Attributes:
      title: its name in messages.
      config: its settings.
      run: its folder, inside that of the whole.
    """

    title: str
    config: TrainConfig
    run: RunFolder


class Whole:
    """The folder of all runs: claimed once the first has been checked, released at the end.

    Attributes:
      row_length: that of the first run trained; 0 before.
    """

    def __init__(self, config: TrainConfig, members: Sequence[Member]) -> None:
        self.config, self.members = config, members
        self.run = RunFolder(config.output_dir)
        self.row_length = config.row_length
        self._begun = self._accepted = False
        for member in members:
            member.run.restart = self.run.config

    def check(self) -> None:
        """Reject a folder that we may not write to, before anything is computed.

        Raises:
          ValueError: as for `RunFolder.check`; or it is to be resumed and holds other runs.
        """
        config = self.config
        self.run.check(overwrite=config.overwrite, resume=config.resume, reading=sources(config))
        refuse_others(config, self.run, self.members)

    def begin(self) -> None:
        """Claim the folder; called once a member has been read and checked, before it writes."""
        if self._begun:
            return
        self._begun = True
        self.run.lock()
        self.run.claim(overwrite=self.config.overwrite)

    def accept(self, fingerprint: Mapping[str, Any]) -> None:
        """Write the settings; called once a member's checkpoint is known to match them.

        Args:
          fingerprint: the fingerprint of that member.

        Raises:
          ValueError: the checkpoint of another member does not match the settings.
        """
        if self._accepted:
            return
        for member in self.members if self.config.resume else ():
            self._compare(member, fingerprint)
        self._accepted, self.row_length = True, fingerprint["row_length"]
        if processes.on_main(lambda: any(not m.run.results.is_file() for m in self.members)):
            self.run.reopen()
        self.run.write_settings(self.config.replace(resume=False, overwrite=False))

    def _compare(self, member: Member, fingerprint: Mapping[str, Any]) -> None:
        """Reject a member whose checkpoint or results have other settings or other corpora."""
        own = {**fingerprint, "seed": member.config.seed, "fold": member.config.fold}
        kept = StepFolders(member.run.checkpoints)
        newest = processes.on_main(lambda: max(kept.steps(), default=None))
        if newest is None and not processes.on_main(member.run.results.is_file):
            return
        try:
            theirs = None if newest is None else kept.describe(newest)[1]
        except (OSError, ValueError, KeyError):  # damaged; the member resumes from another one
            return
        theirs = told_by_settings(member.run, own) if theirs is None else theirs
        folds = bool(self.config.cross_validation)
        refuse_another(member.run.path, of_member(own, theirs, folds=folds), theirs)

    def end(self, summary: dict[str, Any]) -> list[str]:
        """Write the report and results.json; return sentences about the folder to print."""
        return [*processes.on_main(lambda: self._write(summary)), *self.run.ended()]

    def _write(self, summary: dict[str, Any]) -> list[str]:
        said = write_page(self.run, lambda: read_runs(self.run.path))
        self.run.write_results(summary)
        return said


def refuse_others(config: TrainConfig, run: RunFolder, members: Sequence[Member] = ()) -> None:
    """Reject resuming a folder as something it is not: a single run, folds or seeds.

    Args:
      config: the settings; without `resume`, everything is accepted.
      run: the folder.
      members: the runs in it that the settings include.

    Raises:
      ValueError: the folder holds another run; the message names it.
    """
    if config.resume:
        processes.on_main(lambda: _refuse_others(run, members))


def _refuse_others(run: RunFolder, members: Sequence[Member]) -> None:
    named = {member.run.path for member in members}
    others = [path for path in run.members() if path not in named]
    if others:
        raise ValueError(
            f"cannot resume {run.path}: it contains {others[0].name}, which the settings do not "
            "include; give at least the --seeds or --cross-validation it was started with"
        )
    # A run that has ended may have lost its checkpoints; results of several runs have a list here.
    if members and (StepFolders(run.checkpoints).steps() or isinstance(run.best_step(), int)):
        raise ValueError(
            f"cannot resume {run.path}: it is a single run, without --seeds or --cross-validation"
        )


def best_of(results: Sequence[Mapping[str, Any]]) -> int:
    """Return the index of the best by validation F1; the first on ties or without validation."""
    scores = [result.get("validation", {}).get("overall_f1", 0.0) for result in results]
    return scores.index(max(scores))


def summarise(results: Sequence[Mapping[str, Any]], each: str) -> dict[str, Any]:
    """Return the mean and sample standard deviation (n - 1) of scores, and the individual scores.

    Args:
      results: results.json of every run.
      each: the key of the individual scores: "folds" or "seeds".
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
    mean, deviation = spread(values)
    return {"mean": mean, "std": deviation, each: list(values)}


def mean_lines(summary: Mapping[str, Any], what: str) -> list[str]:
    """Return a line of means and standard deviations per split; `what` names the runs."""
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
