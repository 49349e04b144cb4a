"""One run: the loop, its checkpoints, the scores of the best model, the Hub folder."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flaxner.devices import processes
from flaxner.devices.mesh import to_host
from flaxner.models.config_json import hub_config
from flaxner.publishing.hub_folder import save_model_files
from flaxner.runs.checkpoint import Checkpoints
from flaxner.runs.state import TrainState
from flaxner.training import outcome
from flaxner.training.fingerprint import refuse_another, refuse_other_inputs, told_by_settings
from flaxner.training.lockstep import Stepwise, run_alone
from flaxner.training.loop import Loop
from flaxner.training.progress import announce
from flaxner.training.told import close_trackers, open_trackers


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """The result of a run.

    Attributes:
      output_dir: the output folder.
      hub_dir: the folder of the best model, for `transformers` and for `flaxner.pipeline`.
      results: the contents of results.json.
    """

    output_dir: Path
    hub_dir: Path
    results: dict[str, Any]


class Trainer:
    """One run, from step 0 or a checkpoint to the exported model.

    Args of the constructor:
      loop: the training loop.

    Attributes:
      accepted: called with the run's fingerprint once the state to resume from, if any, is known to
        belong to this run, and before anything is written.
      title: the name of the run when several train together; printed before its scores.
      at_once: number of seeds that train in one step.
    """

    def __init__(self, loop: Loop) -> None:
        self.loop, self.prepared, self.run = loop, loop.prepared, loop.run
        self.config, self.console, self.batches = loop.config, loop.console, loop.batches
        self.accepted: Callable[[Mapping[str, Any]], None] = lambda _: None
        self.title, self.at_once = "", 1

    def run_all(self) -> TrainResult:
        """Train to the end, evaluate the best model, and export it."""
        announce(self.prepared, self.batches, self.loop.program.mesh, self.console)
        return run_alone(self.stepwise(), self.loop.held, self.loop.program.steps.train)

    def stepwise(self) -> Stepwise[TrainResult]:
        """Do the same one step at a time; see `Loop.stepwise`."""
        refuse_other_inputs(self.prepared, self.loop.fingerprint)
        self.run.claim(overwrite=self.config.overwrite)
        checkpoints = Checkpoints(self.run.checkpoints, keep=self.config.keep)
        with contextlib.closing(checkpoints):
            results = processes.on_main(self._results) if self.config.resume else None
            newest = self._find(checkpoints, results) if self.config.resume else None
            self.accepted(self.loop.fingerprint)
            at_end = newest in (None, self.batches.num_steps) or self.loop.ended_early
            if at_end and results is not None:
                self._say(f"the run in {self.run.path} has finished: nothing left to do")
                self._say(*self.run.ended())
                return TrainResult(self.run.path, self.run.hub, results)
            self._write_settings()
            self._begin(newest, checkpoints)
            return (yield from self._train(checkpoints, resumed=newest is not None))

    def _results(self) -> dict[str, Any] | None:
        """Return results.json if the run has finished and its model is there."""
        results = self.run.finished()
        return results if self.run.hub.is_dir() else None

    def _begin(self, newest: int | None, checkpoints: Checkpoints) -> None:
        """Set up the state to start or resume from."""
        state = self.loop.initial_state()
        if newest is not None:
            state = self.loop.table.restored(checkpoints, newest, state)
        self.loop.held.state = state

    def _train(self, checkpoints: Checkpoints, *, resumed: bool) -> Stepwise[TrainResult]:
        """Train from the current state to the end of the run, reporting to trackers."""
        trackers = open_trackers(self.config, self.run, self._say, resumed=resumed)
        self.loop.report, ended = trackers.metrics, False
        try:
            yield from self.loop.stepwise(checkpoints)
            yield None
            params, steps = self._best_params(self.loop.held.state, checkpoints)
            self.loop.held.release()
            result = self._finish(params, steps)
            trackers.finish(steps, result.results, [self.run.report])
            ended = True
        finally:
            close_trackers(trackers, self.run, ended=ended)
        return result

    def _best_params(self, state: TrainState, checkpoints: Checkpoints) -> tuple[Any, int]:
        """Return the parameters to export and the number of steps taken.

        The parameters are those of the best step, or of the last if the best checkpoint is lost.
        """
        best, last = self.loop.progress.best_step, int(state.step)
        if 0 <= best < last:
            checkpoints.wait()
            if self._is_kept(best, checkpoints):
                shapes = self.loop.program.abstract_params()
                return checkpoints.restore_params(best, shapes), last
        if best != last:
            self.loop.progress = self.loop.progress._replace(best_step=last)
            self._say(f"exporting the model of the last step, {last}")
        return self.loop.table.complete(state.published), last

    def _is_kept(self, best: int, checkpoints: Checkpoints) -> bool:
        reason = checkpoints.damage(best)
        if reason is not None:
            path = checkpoints.path_of(best)
            self._say(f"the best checkpoint so far, {path}, cannot be used: {reason}")
        return reason is None

    def _say(self, *lines: str) -> None:
        for line in lines:
            self.console.print(line)

    def _find(self, checkpoints: Checkpoints, results: dict[str, Any] | None) -> int | None:
        """Return the step to resume from; its checkpoint must belong to the same run.

        Of a run with results, somebody may have deleted the checkpoints: its settings remain.
        """
        newest = checkpoints.newest_whole(self._say)
        ours = self.loop.fingerprint
        if newest is None:
            if results is None:
                self._say("no checkpoint yet: starting from step 0")
            else:
                refuse_another(self.run.path, ours, told_by_settings(self.run, ours))
            return None
        self.loop.progress, theirs = checkpoints.describe(newest)
        refuse_another(self.run.path, ours, theirs)
        self._say(f"resuming from step {newest}")
        best = self.loop.progress.best_step
        if 0 <= best < newest and not self._is_kept(best, checkpoints):
            self._say("the best checkpoint is selected from here on")
            self.loop.progress = self.loop.progress._replace(best_step=-1, best_score=-1.0)
        return newest

    def _write_settings(self) -> None:
        self.run.write_settings(self.config.replace(resume=False, overwrite=False))
        prepared = self.prepared
        hub_fields = hub_config(
            prepared.model,
            prepared.scheme,
            prepared.fields,
            max_length=self.config.max_length,
            context=self.config.context,
            tagging="IOB2",
        )
        self.run.write_model(lambda draft: save_model_files(draft, prepared.tokenizer, hub_fields))

    def _finish(self, params: Any, steps: int) -> TrainResult:
        program, progress = self.loop.program, self.loop.progress
        if self.title:
            self._say(f"{self.title}: {self.run.path}")
        results, answers = outcome.finish(self.loop.judge, self.console, params)
        progress = progress._replace(compiled=self.loop.compiled())
        mesh = program.mesh
        train = outcome.train_results(self.prepared, self.batches, mesh, progress, steps)
        if self.at_once > 1:  # the seconds are those of all seeds together
            train |= {"seeds_at_once": self.at_once, "fill": round(self.loop.feeding.fill(), 4)}
        results["train"] = train
        host = to_host(params, program.mesh)
        kept = processes.on_main(
            lambda: outcome.write(self.prepared, self.run, host, results, answers)
        )
        self._say(*kept, *self.run.ended())
        processes.barrier("flaxner: the run has ended")
        self._say(f"model for transformers and flaxner: {self.run.hub}")
        if self.run.report.is_file():
            self._say(f"report to open in a browser: {self.run.report}")
        return TrainResult(self.run.path, self.run.hub, results)
