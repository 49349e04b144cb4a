"""The trials of a sweep: Optuna proposes settings, and a training run scores them.

TPE (Bergstra et al. 2011) proposes; the median rule ends a trial whose validation F1 is below the
median of the other trials after as many epochs. The settings of a trial depend only on the sweep's
seed, the trial's number and the earlier trials, so a resumed sweep continues as if it had never
been stopped.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from rich.console import Console

from flaxner.config.train import TrainConfig
from flaxner.devices import processes
from flaxner.runs.folder import named_anywhere
from flaxner.sweep.folder import SweepFolder
from flaxner.sweep.page import page, shown
from flaxner.sweep.space import Choice, Space
from flaxner.training.fingerprint import corpus_digest
from flaxner.training.preparation import Prepared
from flaxner.training.run import train
from flaxner.training.shared import Shared
from flaxner.training.stopping import NotFinite, RunStopped
from flaxner.typed_commands import command_line

STARTUP = 8  # random trials before TPE starts to learn from them
PRUNES_AFTER = 4  # trials that must have ended before one can be pruned
CORPORA = "corpora"  # user attribute of the study: split -> digest
WHY = "why"  # user attribute of a trial that failed
States = optuna.trial.TrialState


class Sweep:
    """A sweep in a folder.

    Args:
      space: search space.
      folder: folder of the sweep.
      seed: seed of the proposals.
      prune: whether to end trials early if their F1 is below the median.
      console: where to print progress.
      command: command with which the user continues the sweep.
    """

    def __init__(
        self,
        space: Space,
        folder: SweepFolder,
        *,
        seed: int = 0,
        prune: bool = True,
        console: Console,
        command: str = "",
    ) -> None:
        self.space, self.folder, self.seed, self.prune = space, folder, seed, prune
        self.console = console
        here = ("--output-dir", str(folder.path))
        self._command = command or command_line("sweep", "SPACE.toml", *here)
        self._shared = Shared()
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    def run(self, trials: int, *, resume: bool = False) -> dict[str, Any]:
        """Train until `trials` trials have ended, including those of earlier sessions.

        Returns:
          "best_trial", its "f1" and "values", "hub_dir", "best_toml" and "page".

        Raises:
          ValueError: corpora, model or folder are unusable, or no trial could be trained.
          RunStopped: a signal arrived; continue with `resume`.
        """
        if processes.expects_others(os.environ):
            raise ValueError("a sweep runs in one process: start it without a launcher")
        self.folder.open(resume=resume)
        try:
            new = not self.folder.journal.exists()
            prepared = self._prepared() if new else None  # what cannot start leaves no sweep behind
            study = self._study()
            if len(_ended(study)) < trials:
                self._check(study, prepared or self._prepared())
            self._tidy(study)
            while len(_ended(study)) < trials:
                self._trial(study, trials)
                self._tidy(study)
            return self._finish(study)
        except KeyboardInterrupt as error:
            raise RunStopped(f"stopped; resume with: {self._again()}") from error
        finally:
            self.folder.close()

    def _study(self) -> optuna.Study:
        """Return the study in the journal, or a new one."""
        journal = str(self.folder.journal)
        # Its default lock is a symbolic link, which not every mounted bucket can hold.
        backend = JournalFileBackend(journal, lock_obj=JournalFileOpenLock(journal))
        pruner = optuna.pruners.MedianPruner(n_startup_trials=PRUNES_AFTER)
        study = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name="flaxner",
            direction="maximize",
            pruner=pruner if self.prune else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        now = json.loads(json.dumps(self.space.described() | {"seed": self.seed}))
        there = study.user_attrs.get("sweep")
        if there is None:
            study.set_user_attr("sweep", now)
        elif there != now:
            raise ValueError(f"cannot resume {self.folder.path}: {_difference(there, now)}")
        return study

    def _prepared(self) -> Prepared:
        """Return what all trials share, or reject settings that no trial could be trained with."""
        prepared = self._shared.prepared(self._config(self.space.first(), 0))
        if "validation" not in prepared.corpora:
            raise ValueError(
                "a sweep compares trials by validation F1: set validation_file or held_out"
            )
        return prepared

    def _check(self, study: optuna.Study, prepared: Prepared) -> None:
        """Check, before the next trial, that its score can be compared with earlier ones."""
        now = {split: corpus_digest(corpus) for split, corpus in prepared.corpora.items()}
        there = study.user_attrs.get(CORPORA, now)  # earlier versions did not record it
        for split in {**there, **now}:
            if there.get(split) != now.get(split):
                raise ValueError(
                    f"cannot resume {self.folder.path}: the content of the {split} corpus has "
                    "changed, so new trials could not be compared with old ones"
                )
        if CORPORA not in study.user_attrs:
            study.set_user_attr(CORPORA, now)
        for line in prepared.warnings:
            self.console.print(line)

    def _config(self, values: Mapping[str, Any], number: int) -> TrainConfig:
        """Return the settings of a trial, without the test file, which is kept for the end."""
        run = self.folder.trial(number)
        changes = {"output_dir": str(run.path), "test_file": None}
        return self.space.config(values, **changes, resume=run.config.is_file())

    def _trial(self, study: optuna.Study, trials: int) -> None:
        """Start a trial, or continue the one that was stopped."""
        running = study.get_trials(deepcopy=False, states=(States.RUNNING,))
        number = running[0].number if running else len(study.get_trials(deepcopy=False))
        entropy = np.random.SeedSequence([self.seed, number]).generate_state(1)[0]
        study.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=int(entropy))
        trial = optuna.Trial(study, running[0]._trial_id) if running else study.ask()
        values = {name: _suggest(trial, name, d) for name, d in self.space.dimensions.items()}
        told = ", ".join(f"{name} {shown(value)}" for name, value in values.items())
        self.console.print(f"trial {number} ({len(_ended(study)) + 1} of {trials}): {told}")
        try:
            config = self._config(values, number)
            watch = self._watch(trial)
            result = train(config, console=Console(quiet=True), watch=watch, shared=self._shared)
        except optuna.TrialPruned:
            study.tell(trial, state=States.PRUNED)
            self.console.print("  pruned: below the median")
        except RunStopped as stop:
            reason = str(stop).split(";")[0]
            again = f"{reason} in trial {number}; resume with: {self._again()}"
            raise RunStopped(again, stop.code, at_once=stop.at_once) from stop
        except ValueError as error:  # incompatible settings, or a loss that is not finite
            why = error.__cause__ if isinstance(error.__cause__, NotFinite) else error
            trial.set_user_attr(WHY, str(why))  # without the checkpoints, which are deleted
            study.tell(trial, state=States.FAIL)
            self.console.print(f"  failed: {why}")
        else:
            f1 = result.results["validation"]["overall_f1"]
            study.tell(trial, f1)
            best = study.best_trial.number == number
            self.console.print(f"  F1 {f1:.4f}" + (" · best so far" if best else ""))

    def _watch(self, trial: optuna.Trial) -> Any:
        """Return a callback that reports evaluations to Optuna and ends a pruned run."""
        known = trial.storage.get_trial(trial._trial_id).intermediate_values

        def hear(step: int, epoch: float, f1: float) -> None:
            passes = round(1000 * epoch)  # comparable across batch sizes
            if passes not in known:  # an earlier session may have reported it
                trial.report(f1, passes)
            self.console.print(f"  epoch {epoch:.2f} · validation F1 {f1:.4f}")
            if trial.should_prune():
                raise optuna.TrialPruned

        return hear

    def _again(self) -> str:
        return f"{self._command} --resume"

    def _tidy(self, study: optuna.Study) -> None:
        """Delete the weights of all trials but the best."""
        ended = _ended(study)
        scored = [trial for trial in ended if trial.state == States.COMPLETE]
        best = study.best_trial if scored else None
        for trial in ended:
            if best is None or trial.number != best.number:
                self.folder.drop_weights(trial.number)
        if best is not None:
            output = {"output_dir": str(self.folder.path / "best")}
            config = named_anywhere(self.space.config(best.params, **output), self.folder.path)
            self.folder.write(self.folder.best, config.to_toml())

    def _finish(self, study: optuna.Study) -> dict[str, Any]:
        ended = _ended(study)
        if not any(trial.state == States.COMPLETE for trial in ended):
            why = next((t.user_attrs[WHY] for t in reversed(ended) if WHY in t.user_attrs), "")
            raise ValueError(f"none of {len(ended)} trials could be trained to the end: {why}")
        with warnings.catch_warnings():  # plots warn that they are experimental, or of equal scores
            warnings.simplefilter("ignore")
            self.folder.write(self.folder.page, page(study, self.folder))
        best = study.best_trial
        return {
            "best_trial": best.number,
            "f1": best.value,
            "values": best.params,
            "hub_dir": self.folder.trial(best.number).hub,
            "best_toml": self.folder.best,
            "page": self.folder.page,
        }


def _ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


def _suggest(trial: optuna.Trial, name: str, dimension: Any) -> Any:
    if isinstance(dimension, Choice):
        return trial.suggest_categorical(name, dimension.values)
    low, high, log, step = dimension.low, dimension.high, dimension.log, dimension.step
    if dimension.whole:
        return trial.suggest_int(name, int(low), int(high), log=log, step=int(step or 1))
    return trial.suggest_float(name, low, high, log=log, step=step)


def _difference(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return the first difference between two descriptions of a sweep."""
    if there.get("seed") != now["seed"]:
        return f"the seed differs: {there.get('seed')} before, {now['seed']} now"
    for part in ("space", "settings"):
        for name in {**there[part], **now[part]}:
            old, new = there[part].get(name), now[part].get(name)
            if old != new:
                return f"{name} differs: {old!r} before, {new!r} now"
    return "the search space differs"


def output_of(best: Mapping[str, Any]) -> list[str]:
    """Return the summary to print: the best trial, and how to train with it."""
    values = ", ".join(f"{name} {shown(value)}" for name, value in best["values"].items())
    return [
        f"best: trial {best['best_trial']}, validation F1 {best['f1']:.4f}: {values}",
        f"its model: {best['hub_dir']}; all trials: {best['page']}",
        f"train with its settings: {command_line('train', '--config', str(best['best_toml']))}",
    ]


def sweep(
    space: Space,
    output_dir: str | Path,
    *,
    trials: int = 20,
    seed: int = 0,
    prune: bool = True,
    resume: bool = False,
    console: Console | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Search a space for the best settings; see `Sweep`."""
    study = Sweep(
        space,
        SweepFolder(output_dir),
        seed=seed,
        prune=prune,
        console=console or Console(quiet=True),
        command=command,
    )
    return study.run(trials, resume=resume)
