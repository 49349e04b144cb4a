"""The loop of a run: steps -> metrics, scores on the way, states worth keeping."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from rich.console import Console

from flaxner.devices import processes
from flaxner.runs.folder import RunFolder
from flaxner.runs.metrics_log import MetricsLog
from flaxner.runs.state import TrainState
from flaxner.runs.steps import Progress
from flaxner.training import outcome
from flaxner.training.feed import feed
from flaxner.training.fingerprint import fingerprint
from flaxner.training.prediction import Judge
from flaxner.training.preparation import Prepared
from flaxner.training.program import program_of_run
from flaxner.training.progress import TrainProgress
from flaxner.training.stopping import (
    EvaluationCut,
    Interruption,
    NotFinite,
    RunStopped,
    all_finite,
    go_on,
)
from flaxner.training.watching import Watch, nobody


class Keeper(Protocol):
    """Where the loop leaves its state: `Checkpoints` of a run, or whatever keeps less."""

    def save(self, state: TrainState, progress: Progress, fingerprint: Mapping[str, Any]) -> None:
        """Keep this state; called after evaluations, every `save_every` steps and at a stop."""

    def wait(self) -> None:
        """Return when the last state is safe."""


class Loop:
    """The steps of one run, whatever the network; what becomes of the model is another's concern.

    Args of the constructor:
      prepared: the ingredients.
      run: metrics.jsonl is written there, and messages name it.
      console: for the progress bar.
      interruption: asks for a stop.

    Attributes:
      program: mesh and compiled steps.
      batches: the plan of the run.
      judge: scores parameters on the splits.
      fingerprint: of settings and corpora, kept with every state.
      progress: what has been done; that of a checkpoint if the run is resumed.
      report: is told every line of metrics.jsonl, in the main process.
      watch: is told every evaluation, and may end the run.
    """

    def __init__(
        self, prepared: Prepared, run: RunFolder, console: Console, interruption: Interruption
    ) -> None:
        self.prepared, self.run, self.console = prepared, run, console
        self.config, self.interruption = prepared.config, interruption
        self.program, self.batches = program_of_run(prepared)
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
        """Whether so many evaluations brought no gain that training ends before its last step."""
        patience = self.config.early_stopping
        return bool(patience) and self.progress.without_gain >= patience

    def initial_state(self) -> TrainState:
        """Step 0."""
        return self.program.init(self.prepared.params)

    def train(self, state: TrainState, keeper: Keeper) -> TrainState:
        """Steps from this state to the end; signals wait for the end of a step.

        Raises:
          RunStopped: a stop was asked for; the state is kept.
          NotFinite: loss, gradient or parameters are not finite.
        """
        with self.interruption.deferred():
            return self._train(state, keeper)

    def _train(self, state: TrainState, keeper: Keeper) -> TrainState:
        config, total, first = self.config, self.batches.num_steps, int(state.step)
        eval_every = config.eval_every or self.batches.steps_per_epoch
        save_every = config.save_every or eval_every
        path = self.run.metrics if processes.is_main() else None
        log = MetricsLog(path, keep_lines=self.progress.logged_lines, also=self.report)
        if log.lost:
            lost = f"{path} has lost {log.lost} lines of the steps before {first}"
            self.console.print(lost, highlight=False, markup=False)
            self._rebuild(log)
        self._begin = time.monotonic() - self.progress.seconds

        def evaluates(step: int) -> bool:
            return step % eval_every == 0 or step == total

        with (
            contextlib.closing(log),
            TrainProgress(self.console, total, first) as bar,
            contextlib.closing(feed(self.batches, self.program, first, total)) as ready,
        ):
            if first and evaluates(first) and self.progress.evaluated < first:
                # the last session had no time for it
                state, _ = self._evaluate(first, state, log, bar)
            if self.ended_early:
                return state
            late: tuple[int, int, Any] | None = None
            for step, batch, count in ready:
                state, metrics = self.program.steps.train(state, batch)
                stop = self._vote()
                if late is not None:  # the device is busy with this step while we read the last
                    self._record(log, bar, *late)
                late = (step + 1, count, metrics)
                evaluate = evaluates(step + 1)
                if evaluate or stop or (step + 1) % save_every == 0:
                    self._record(log, bar, *late)
                    late = None
                    if evaluate and not stop:
                        state, done = self._evaluate(step + 1, state, log, bar)
                        stop = not done
                    self._save(step + 1, state, log, keeper)
                if stop:
                    self._stop(keeper)
                if self.ended_early:
                    bar.say(f"no gain in {self.progress.without_gain} evaluations: training ends")
                    break
        self._update()
        return state

    def _rebuild(self, log: MetricsLog) -> None:
        """Of a log that is lost: the best evaluation, which the checkpoint knows."""
        best = self.progress.best_step
        if log.lines == 0 and best >= 0 and self.progress.best_score >= 0:
            epoch = best / self.batches.steps_per_epoch
            log.write(step=best, epoch=epoch, split="validation", f1=self.progress.best_score)

    def _update(self, **changes: Any) -> None:
        """Note time, compilations and whatever else changed."""
        self.progress = self.progress._replace(
            seconds=time.monotonic() - self._begin,
            compiled=outcome.compiled(self.progress.compiled, self.program.steps.traces),
            **changes,
        )

    def _save(self, step: int, state: TrainState, log: MetricsLog, keeper: Keeper) -> None:
        if not bool(all_finite(state.params)):
            raise NotFinite(f"a parameter is not a finite number after step {step}")
        log.sync()
        self._update(logged_lines=log.lines)
        keeper.save(state, self.progress, self.fingerprint)

    def _stop(self, keeper: Keeper) -> None:
        keeper.wait()
        name = self.interruption.requested or "another process was asked to stop"
        raise RunStopped(f"{name}: stopped{go_on(self.run)}")

    def _record(
        self, log: MetricsLog, bar: TrainProgress, step: int, tokens: int, metrics: Any
    ) -> None:
        values = {name: np.asarray(value).item() for name, value in metrics.items()}
        for name in ("loss", "grad_norm"):
            if not math.isfinite(values[name]):
                title = name.replace("grad_norm", "gradient norm")
                raise NotFinite(f"the {title} is {values[name]} at step {step}")
        bar.update(step, tokens, values["loss"])
        if self.config.label_tokens == "all":
            values["labelled_tokens"] = values.pop("words")
        if step % self.config.log_every == 0 or step == self.batches.num_steps:
            log.write(step=step, tokens=tokens, **values)

    def _evaluate(
        self, step: int, state: TrainState, log: MetricsLog, bar: TrainProgress
    ) -> tuple[TrainState, bool]:
        """Score the validation split, and note the best step.

        Returns:
          the state after it, and True; the state as it was, and False, if a stop cut it short.
        """
        before, state = state, self.program.steps.evaluated(state)
        if "validation" not in self.prepared.corpora:
            self.progress = self.progress._replace(best_step=step, evaluated=step)
            return state, True
        try:
            scores, _ = self.judge.score("validation", state.published, self._check_vote)
        except EvaluationCut:
            return before, False
        improved = scores.overall_f1 > self.progress.best_score
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
            + (" · best so far" if improved else "")
        )
        self.watch(step, epoch, scores.overall_f1)
        return state, True

    def _check_vote(self, words_done: int) -> None:
        if self._vote():
            raise EvaluationCut
