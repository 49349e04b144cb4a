"""The training loop: takes steps, logs metrics, evaluates, and saves states."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from rich.console import Console

from flaxner.data.batches import TrainBatches
from flaxner.devices import processes
from flaxner.runs.folder import RunFolder
from flaxner.runs.metrics_log import MetricsLog
from flaxner.runs.speed_log import SpeedLog
from flaxner.runs.state import Keeper, TrainState
from flaxner.runs.steps import Progress
from flaxner.training import outcome
from flaxner.training.feed import Plan, feed
from flaxner.training.fingerprint import fingerprint
from flaxner.training.lockstep import Held, Stepwise, run_alone
from flaxner.training.prediction import Judge
from flaxner.training.preparation import Prepared
from flaxner.training.program import Program, program_of_run
from flaxner.training.progress import Bar, MakeBar, TrainProgress
from flaxner.training.stopping import (
    EvaluationCut,
    Interruption,
    NotFinite,
    RunStopped,
    all_finite,
    go_on,
)
from flaxner.training.watching import Watch, nobody, tell
from flaxner.wording import number_of


class Loop:
    """The steps of one run, for any network; does not deal with the finished model.

    Args of the constructor:
      prepared: the prepared model and corpora.
      run: the folder for metrics.jsonl and speed.jsonl; also named in messages.
      console: where progress is shown.
      interruption: signals a request to stop.
      compute: the program and batches of the run, if it shares its program with another run.

    Attributes:
      program: mesh and compiled steps.
      batches: the batches of the run.
      feeding: the same batches as fed to the steps, possibly padded with empty rows.
      table: completes the state's parameters to those of the model.
      held: holds the state being trained.
      bar: creates the progress bar.
      judge: scores parameters on the splits.
      fingerprint: fingerprint of settings and corpora, saved with every state.
      progress: the progress so far; that of the checkpoint if the run is resumed.
      report: called with every line of metrics.jsonl, in the main process.
      watch: called after every evaluation; may end the run.
    """

    def __init__(
        self,
        prepared: Prepared,
        run: RunFolder,
        console: Console,
        interruption: Interruption,
        compute: tuple[Program, TrainBatches] | None = None,
    ) -> None:
        self.prepared, self.run, self.console = prepared, run, console
        self.config, self.interruption = prepared.config, interruption
        self.program, self.batches = compute or program_of_run(prepared)
        self.feeding: Plan = self.batches
        self.table = self.program.completing(prepared.params)
        self.held = Held()
        self.bar: MakeBar = TrainProgress
        self.judge = Judge(prepared, self.program.steps, self.program.mesh)
        self.fingerprint = fingerprint(prepared, self.batches)
        self.progress = Progress()
        self.watch: Watch = nobody
        self.report: Callable[[Mapping[str, Any]], object] = lambda _: None
        self._vote = processes.StopVote(
            self.program.mesh, lambda: interruption.requested is not None
        )

    @property
    def ended_early(self) -> bool:
        """Whether early stopping ends training before its last step."""
        patience = self.config.early_stopping
        return bool(patience) and self.progress.without_gain >= patience

    def initial_state(self) -> TrainState:
        """Return the state at step 0."""
        return self.program.init(self.prepared.params)

    def train(self, state: TrainState, keeper: Keeper) -> TrainState:
        """Train from this state to the end; signals are handled at the end of a step.

        Raises:
          RunStopped: a stop was requested; the state is saved.
          NotFinite: loss, gradient or parameters are not finite.
        """
        self.held.state = state
        del state
        run_alone(self.stepwise(keeper), self.held, self.program.steps.train)
        return self.held.state

    def stepwise(self, keeper: Keeper) -> Stepwise[None]:
        """Train from the state in `held`, one step at a time, driven by the caller.

        Yields the batch of a step; the caller takes the step, updates `held` and sends the metrics.
        """
        with self.interruption.deferred():
            yield from self._stepwise(keeper)
        if self._vote.settled():  # requested after the last step had checked
            self._stop(keeper)

    def _stepwise(self, keeper: Keeper) -> Stepwise[None]:
        config, total, first = self.config, self.batches.num_steps, int(self.held.state.step)
        eval_every = config.eval_every or self.batches.steps_per_epoch
        save_every = config.save_every or eval_every
        log = self._log(first)
        self._begin = time.monotonic() - self.progress.seconds
        self._speed = self._speed_log(first)

        def evaluates(step: int) -> bool:
            return step % eval_every == 0 or step == total

        with (
            contextlib.closing(log),
            contextlib.closing(self._speed),
            self.bar(self.console, total, first) as bar,
            contextlib.closing(feed(self.feeding, self.program, first, total)) as ready,
        ):
            if first and evaluates(first) and self.progress.evaluated < first:
                self._make_up(first, log, bar, keeper)
            if self.ended_early:
                return
            self._speed.begin(first)
            late: tuple[int, int, Any, float | None] | None = None
            for placed in ready:
                step, metrics = placed.step + 1, (yield placed)
                loss: Any = metrics["loss"]  # a CPU has it by now; for others it is read below
                ended = self._seconds() if loss.is_ready() else None
                stop = self._vote()
                if late is not None:  # read the previous step while the device computes this one
                    self._record(log, bar, *late)
                late = (step, placed.tokens, metrics, ended)
                evaluate = evaluates(step)
                if evaluate or stop or step % save_every == 0:
                    self._record(log, bar, *late)
                    late = None
                    with self._speed.paused(step):
                        if evaluate and not stop:
                            stop = not self._evaluate(step, log, bar)
                        self._save(step, log, keeper)
                if stop:
                    self._stop(keeper)
                if self.ended_early:
                    count = number_of(self.progress.without_gain, "evaluations")
                    bar.say(f"no improvement in the last {count}: stopping early")
                    break
        self._update()

    def _log(self, first: int) -> MetricsLog:
        """Open metrics.jsonl, keeping what the steps before `first` wrote."""
        path = self.run.metrics if processes.is_main() else None
        log = MetricsLog(path, keep_lines=self.progress.logged_lines, also=self.report)
        if log.lost:
            lost = f"{path} has lost {number_of(log.lost, 'lines')} from before step {first}"
            self.console.print(lost)
            self._rebuild(log)
        return log

    def _speed_log(self, first: int) -> SpeedLog:
        """Open speed.jsonl, keeping what the steps before `first` wrote."""
        path = self.run.take_speed_log() if processes.is_main() else None
        return SpeedLog(path, first, self._seconds, self.config.log_every)

    def _rebuild(self, log: MetricsLog) -> None:
        """Restore the best evaluation, recorded in the checkpoint, to a lost log."""
        best = self.progress.best_step
        if log.lines == 0 and best >= 0 and self.progress.best_score >= 0:
            epoch = best / self.batches.steps_per_epoch
            log.write(step=best, epoch=epoch, split="validation", f1=self.progress.best_score)

    def _seconds(self) -> float:
        """Return the seconds spent training, summed over all sessions."""
        return time.monotonic() - self._begin

    def _update(self, **changes: Any) -> None:
        """Update the progress: time, compilations and the given fields."""
        self.progress = self.progress._replace(
            seconds=self._seconds(), compiled=self.compiled(), **changes
        )

    def compiled(self) -> tuple[tuple[str, int, int, int], ...]:
        """Return the programs and shapes of this run compiled so far; see `outcome.compiled`."""
        traces = self.program.steps.traces
        return outcome.compiled(self.progress.compiled, traces, self.feeding.shapes)

    def _save(self, step: int, log: MetricsLog, keeper: Keeper) -> None:
        state = self.held.state
        if not bool(all_finite(state.params)):
            raise NotFinite(f"a parameter is not finite after step {step}")
        log.sync()
        self._update(logged_lines=log.lines)
        published = self.table.complete(state.published)
        keeper.save(state, self.progress, self.fingerprint, published)

    def _make_up(self, first: int, log: MetricsLog, bar: Bar, keeper: Keeper) -> None:
        """Make up for an evaluation that the last session did not get to; save the result.

        Raises:
          RunStopped: this session is stopped as well, which leaves it to the next one.
        """
        if not self._evaluate(first, log, bar):
            self._stop(keeper)
        self._save(first, log, keeper)
        keeper.wait()  # if the run ends here, the scores are safe

    def _stop(self, keeper: Keeper) -> None:
        keeper.wait()
        processes.barrier("flaxner: saved")  # by process 0, last
        name = self.interruption.requested or "another process was asked to stop"
        raise RunStopped(f"{name}: stopped{go_on(self.run)}")

    def _record(
        self,
        log: MetricsLog,
        bar: Bar,
        step: int,
        tokens: int,
        metrics: Any,
        ended: float | None,
    ) -> None:
        values = {name: np.asarray(value).item() for name, value in metrics.items()}
        for name in ("loss", "grad_norm"):
            if not math.isfinite(values[name]):
                title = name.replace("grad_norm", "gradient norm")
                raise NotFinite(f"the {title} is {values[name]} at step {step}")
        bar.update(step, tokens, values["loss"])
        self._speed.done(step, tokens, ended)
        if self.config.label_tokens == "all":
            values["labelled_tokens"] = values.pop("words")
        if step % self.config.log_every == 0 or step == self.batches.num_steps:
            log.write(step=step, tokens=tokens, **values)

    def _evaluate(self, step: int, log: MetricsLog, bar: Bar) -> bool:
        """Score the validation split and record the best step.

        Returns:
          Whether it was completed; if a stop cut it short, the state is unchanged.
        """
        state = self.program.steps.evaluated(self.held.state)
        if "validation" not in self.prepared.corpora:
            self.held.state = state
            self.progress = self.progress._replace(best_step=step, evaluated=step)
            return True
        try:
            params = self.table.complete(state.published)
            scores, _ = self.judge.score("validation", params, self._check_vote)
        except EvaluationCut:
            return False
        self.held.state = state
        # Of several evaluations that found nothing, the last one is of the model that learnt most.
        before = self.progress.best_score
        improved = scores.overall_f1 > before or scores.overall_f1 == before == 0
        gain = scores.overall_f1 > self.progress.top_score
        self.progress = self.progress._replace(
            evaluated=step,
            top_score=max(scores.overall_f1, self.progress.top_score),
            without_gain=0 if gain else self.progress.without_gain + 1,
        )
        if improved or self.config.select == "last":
            self.progress = self.progress._replace(best_step=step, best_score=scores.overall_f1)
        names = ("precision", "recall", "f1", "accuracy")
        values = {name: getattr(scores, f"overall_{name}") for name in names}
        epoch = step / self.batches.steps_per_epoch
        log.write(step=step, epoch=epoch, split="validation", **values)
        bar.say(
            f"epoch {epoch:.2f} · step {step} · validation F1 {scores.overall_f1:.4f} "
            f"(precision {scores.overall_precision:.4f}, recall {scores.overall_recall:.4f})"
            + (" · best so far" if gain else "")
        )
        tell(self.watch, step, epoch, scores.overall_f1)
        return True

    def _check_vote(self, words_done: int) -> None:
        if self._vote():
            raise EvaluationCut
