"""One run: steps -> checkpoints -> scores -> Hub folder."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from flaxner.data.batches import TrainBatches
from flaxner.devices import processes
from flaxner.devices.mesh import make_mesh, to_host
from flaxner.files import write_text
from flaxner.models.config_json import hub_config
from flaxner.publishing.hub_folder import save_model_files
from flaxner.runs.checkpoint import Checkpoints, Progress
from flaxner.runs.folder import RunFolder
from flaxner.runs.metrics_log import MetricsLog
from flaxner.runs.state import TrainState
from flaxner.training import outcome
from flaxner.training.feed import feed
from flaxner.training.fingerprint import fingerprint, refuse_another
from flaxner.training.loss import Softmax, label_weights
from flaxner.training.optimizer import optimizer_of
from flaxner.training.preparation import Prepared
from flaxner.training.progress import TrainProgress, announce
from flaxner.training.step import init_state, make_steps
from flaxner.training.stopping import (
    EvaluationCut,
    Interruption,
    NotFinite,
    RunStopped,
    all_finite,
    go_on,
)


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What a run leaves behind.

    Attributes:
      output_dir: its folder.
      hub_dir: the best model, for `transformers` and for `flaxner.pipeline`.
      results: the content of results.json.
    """

    output_dir: Path
    hub_dir: Path
    results: dict[str, Any]


class Trainer:
    """One run, from step 0 or from a checkpoint, to the exported model."""

    def __init__(
        self, prepared: Prepared, run: RunFolder, console: Console, interruption: Interruption
    ) -> None:
        self.prepared, self.run, self.console = prepared, run, console
        self.interruption = interruption
        config = self.config = prepared.config
        self.mesh = make_mesh(config.fsdp)
        devices = self.mesh.size
        self.batches = TrainBatches(
            prepared.segments["train"],
            config.batch_size,
            config.row_length,
            config.epochs,
            config.seed,
            multiple=math.lcm(devices, devices * config.accumulate),
        )
        labels = prepared.segments["train"].labels
        weights = label_weights(config.class_weights, prepared.scheme, labels)
        self.schedule, self.optimizer = optimizer_of(config, self.batches.num_steps)
        self.steps = make_steps(
            prepared.model,
            Softmax(weights),
            self.optimizer,
            self.schedule,
            self.mesh,
            seed=config.seed,
            accumulate=config.accumulate,
        )
        self.judge = outcome.Judge(prepared, self.steps, self.mesh)
        self.vote = processes.StopVote(self.mesh, lambda: interruption.requested is not None)
        self.fingerprint = fingerprint(prepared, self.batches)
        self.progress = Progress()

    def run_all(self) -> TrainResult:
        """Train to the end, evaluate the best model, export it."""
        announce(self.prepared, self.batches, self.mesh, self.console)
        processes.on_main(lambda: self.run.claim(overwrite=self.config.overwrite))
        checkpoints = Checkpoints(self.run.checkpoints, keep=self.config.keep)
        with contextlib.closing(checkpoints):
            newest = self._find(checkpoints) if self.config.resume else None
            results = processes.on_main(self.run.finished)
            at_end = newest == self.batches.num_steps
            if at_end and results is not None and self.run.hub.is_dir():
                self.console.print(f"the run in {self.run.path} has ended: nothing is left to do")
                return TrainResult(self.run.path, self.run.hub, results)
            processes.on_main(self._write_settings)
            state = init_state(self.prepared.params, self.optimizer, self.mesh)
            if newest is not None:
                state = checkpoints.restore(newest, state)
            with self.interruption.deferred():
                state = self._train(state, checkpoints)
            params = state.params
            best = self.progress.best_step
            if 0 <= best < self.batches.num_steps:
                checkpoints.wait()
                params = checkpoints.restore(best, state).params
            del state
            return self._finish(params)

    def _find(self, checkpoints: Checkpoints) -> int | None:
        """The step to go on from; it must be of the same run."""
        newest = checkpoints.newest_whole(lambda text: self.console.print(text, highlight=False))
        if newest is None:
            self.console.print("no checkpoint yet: starting from step 0")
            return None
        self.progress, theirs = checkpoints.describe(newest)
        refuse_another(self.run.path, self.fingerprint, theirs)
        self.console.print(f"resuming from step {newest}")
        return newest

    def _write_settings(self) -> None:
        settings = self.config.replace(resume=False, overwrite=False).to_toml()
        write_text(self.run.config, settings)
        prepared = self.prepared
        hub_fields = hub_config(
            prepared.model,
            prepared.scheme,
            prepared.fields,
            max_length=self.config.max_length,
        )
        save_model_files(self.run.model, prepared.tokenizer, hub_fields)

    def _train(self, state: TrainState, checkpoints: Checkpoints) -> TrainState:
        """Steps to the end; an interruption saves and raises RunStopped."""
        config, total, first = self.config, self.batches.num_steps, int(state.step)
        eval_every = config.eval_every or self.batches.steps_per_epoch
        save_every = config.save_every or eval_every
        path = self.run.metrics if processes.is_main() else None
        log = MetricsLog(path, keep_lines=self.progress.logged_lines)
        if log.lost:
            self.console.print(f"{path} has lost {log.lost} lines of the steps before {first}")
        self._begin = time.monotonic() - self.progress.seconds

        def evaluates(step: int) -> bool:
            return step % eval_every == 0 or step == total

        with (
            contextlib.closing(log),
            TrainProgress(self.console, total, first) as bar,
            contextlib.closing(feed(self.batches, self.mesh, first, total)) as ready,
        ):
            if first and evaluates(first) and self.progress.evaluated < first:
                self._evaluate(first, state, log, bar)  # the last session had no time for it
            late: tuple[int, int, Any] | None = None
            for step, batch, count in ready:
                state, metrics = self.steps.train(state, batch)
                stop = self.vote()
                if late is not None:  # the device is busy with this step while we read the last
                    self._record(log, bar, *late)
                late = (step + 1, count, metrics)
                evaluate = evaluates(step + 1)
                if evaluate or stop or (step + 1) % save_every == 0:
                    self._record(log, bar, *late)
                    late = None
                    if evaluate and not stop:
                        stop = not self._evaluate(step + 1, state, log, bar)
                    self._save(step + 1, state, log, checkpoints)
                if stop:
                    self._stop(checkpoints)
        self._update()
        return state

    def _update(self, **changes: Any) -> None:
        """Note time, compilations and whatever else changed."""
        self.progress = self.progress._replace(
            seconds=time.monotonic() - self._begin,
            compiled=outcome.compiled(self.progress.compiled, self.steps.traces),
            **changes,
        )

    def _save(
        self, step: int, state: TrainState, log: MetricsLog, checkpoints: Checkpoints
    ) -> None:
        if not bool(all_finite(state.params)):
            raise NotFinite(f"the parameters are no numbers after step {step}")
        log.sync()
        self._update(logged_lines=log.lines)
        checkpoints.save(state, self.progress, self.fingerprint)

    def _stop(self, checkpoints: Checkpoints) -> None:
        checkpoints.wait()
        name = self.interruption.requested or "another process was asked to stop"
        raise RunStopped(f"{name}: stopped{go_on(self.run)}")

    def _record(
        self, log: MetricsLog, bar: TrainProgress, step: int, tokens: int, metrics: Any
    ) -> None:
        values = {name: np.asarray(value).item() for name, value in metrics.items()}
        for name in ("loss", "grad_norm"):
            if not math.isfinite(values[name]):
                said = name.replace("grad_norm", "gradient norm")
                raise NotFinite(f"the {said} is {values[name]} at step {step}")
        bar.update(step, tokens, values["loss"])
        if self.config.label_tokens == "all":
            values["labelled_tokens"] = values.pop("words")
        if step % self.config.log_every == 0 or step == self.batches.num_steps:
            log.write(step=step, tokens=tokens, **values)

    def _evaluate(self, step: int, state: TrainState, log: MetricsLog, bar: TrainProgress) -> bool:
        """Score the validation split, and note the best step; False if a stop cut it short."""
        if "validation" not in self.prepared.corpora:
            self.progress = self.progress._replace(best_step=step, evaluated=step)
            return True
        try:
            scores, _ = self.judge.score("validation", state.params, self._check_vote)
        except EvaluationCut:
            return False
        improved = scores.overall_f1 > self.progress.best_score
        self.progress = self.progress._replace(evaluated=step)
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
        return True

    def _check_vote(self, words_done: int) -> None:
        if self.vote():
            raise EvaluationCut

    def _finish(self, params: Any) -> TrainResult:
        results, tags = outcome.finish(self.judge, self.run, self.console, params)
        compiled = outcome.compiled(self.progress.compiled, self.steps.traces)
        progress = self.progress._replace(compiled=compiled)
        results["train"] = outcome.train_results(self.prepared, self.batches, self.mesh, progress)
        outcome.write(
            self.prepared, self.run, to_host(params, self.mesh), results, tags, self.console
        )
        processes.barrier("flaxner: the run has ended")
        self.console.print(f"model for transformers and flaxner: {self.run.hub}", highlight=False)
        return TrainResult(self.run.path, self.run.hub, results)
