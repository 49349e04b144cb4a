"""The loop: settings -> data -> model -> steps -> checkpoints -> scores -> Hub folder."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from flaxner.batches import TrainBatches
from flaxner.checkpoint import Checkpoints, Progress
from flaxner.config import NOT_FINGERPRINTED, TrainConfig
from flaxner.decoders import Softmax
from flaxner.evaluation import Tags, predict_labels, report, tags_by_sentence
from flaxner.export import export_folder, hub_config, save_model_files
from flaxner.feed import feed
from flaxner.metrics import NerReport
from flaxner.model_card import model_card
from flaxner.optimizer import linear_schedule, make_optimizer
from flaxner.preparation import Prepared, prepare
from flaxner.progress import TrainProgress, score_table
from flaxner.run_folder import MetricsLog, RunFolder, write_json, write_predictions
from flaxner.sharding import make_mesh
from flaxner.step import TrainState, init_state, make_steps


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


def train(config: TrainConfig, *, console: Console | None = None) -> TrainResult:
    """Train, evaluate and export.

    Args:
      config: the settings.
      console: where progress and tables go; standard output if None.

    Returns:
      paths and scores.

    Raises:
      ValueError: settings, corpus, model or output folder do not fit; nothing was written.
    """
    console = console or Console()
    run = RunFolder(config.output_dir)
    run.check(overwrite=config.overwrite, resume=config.resume)
    use_compilation_cache(config.compilation_cache)
    trainer = Trainer(prepare(config), run, console)
    return trainer.run_all()


def use_compilation_cache(folder: str) -> None:
    """Keep compiled programs in `folder` from run to run; an empty name leaves JAX as it is."""
    if folder and not jax.config.values["jax_compilation_cache_dir"]:
        jax.config.update("jax_compilation_cache_dir", os.path.expanduser(folder))


class Trainer:
    """One run, from step 0 or from a checkpoint, to the exported model."""

    def __init__(self, prepared: Prepared, run: RunFolder, console: Console) -> None:
        self.prepared, self.run, self.console = prepared, run, console
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
        self.schedule = linear_schedule(
            config.learning_rate, self.batches.num_steps, config.warmup_ratio
        )
        self.optimizer = make_optimizer(
            self.schedule,
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_grad_norm,
            beta1=config.adam_beta1,
            beta2=config.adam_beta2,
            epsilon=config.adam_epsilon,
        )
        self.steps = make_steps(
            prepared.model,
            Softmax(),
            self.optimizer,
            self.schedule,
            self.mesh,
            seed=config.seed,
            accumulate=config.accumulate,
        )
        self.eval_rows = self._eval_rows()
        self.best = Progress()
        self.reports: dict[str, NerReport] = {}

    def _eval_rows(self) -> int:
        """Rows of an evaluation batch: one number for all splits, so one compilation."""
        config, devices = self.config, self.mesh.size
        most = max(
            -(-int(segments.lengths.sum()) // config.row_length) + 1
            for split, segments in self.prepared.segments.items()
            if split != "train" or len(self.prepared.segments) == 1
        )
        return -(-min(config.eval_batch_size, most) // devices) * devices

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for a run to be continued: settings, tags, corpus, plan."""
        settings = {
            name: value
            for name, value in dataclasses.asdict(self.config).items()
            if name not in NOT_FINGERPRINTED
        }
        return {
            **settings,
            "tags": list(self.prepared.scheme.tags),
            "training batches": self.batches.fingerprint(),
        }

    def run_all(self) -> TrainResult:
        """Train to the end, evaluate the best model, export it."""
        self._announce()
        self.run.claim(self.config.to_toml(), overwrite=self.config.overwrite)
        prepared = self.prepared
        hub_fields = hub_config(prepared.model, prepared.scheme, prepared.fields)
        save_model_files(self.run.model, prepared.tokenizer, hub_fields)
        checkpoints = Checkpoints(self.run.checkpoints, keep=self.config.keep)
        try:
            state = init_state(prepared.params, self.optimizer, self.mesh)
            if self.config.resume:
                state = self._resume(checkpoints, state)
            state, seconds, tokens = self._train(state, checkpoints)
            checkpoints.wait()
            params = state.params
            if 0 <= self.best.best_step < int(state.step):
                params = checkpoints.restore(self.best.best_step, state).params
        finally:
            checkpoints.close()
        return self._finish(params, seconds, tokens)

    def _resume(self, checkpoints: Checkpoints, state: TrainState) -> TrainState:
        steps = checkpoints.steps()
        if not steps:
            self.console.print("no checkpoint yet: starting from step 0")
            return state
        self.best, theirs = checkpoints.describe(steps[-1])
        ours = self.fingerprint()
        differing = [name for name in ours if ours[name] != theirs.get(name)]
        if differing:
            name = differing[0]
            raise ValueError(
                f"cannot resume {self.run.path}: {name} differs: "
                f"{theirs.get(name)!r} there, {ours[name]!r} now"
            )
        self.console.print(f"resuming from step {steps[-1]}")
        return checkpoints.restore(steps[-1], state)

    def _train(self, state: TrainState, checkpoints: Checkpoints) -> tuple[TrainState, float, int]:
        """Steps to the end; returns the state, seconds and real tokens of this session."""
        config, total, first = self.config, self.batches.num_steps, int(state.step)
        eval_every = config.eval_every or self.batches.steps_per_epoch
        save_every = config.save_every or eval_every
        log = MetricsLog(self.run.metrics, keep_lines=self.best.logged_lines)
        begin, tokens = time.monotonic(), 0
        with (
            contextlib.closing(log),
            TrainProgress(self.console, total, first) as bar,
            contextlib.closing(feed(self.batches, self.mesh, first, total)) as ready,
        ):
            late: tuple[int, int, Any] | None = None
            for step, batch, count in ready:
                state, metrics = self.steps.train(state, batch)
                tokens += count
                if late is not None:  # the device is busy with this step while we read the last
                    self._record(log, bar, *late)
                late = (step + 1, count, metrics)
                evaluate = (step + 1) % eval_every == 0 or step + 1 == total
                if evaluate or (step + 1) % save_every == 0:
                    self._record(log, bar, *late)
                    late = None
                    if evaluate:
                        self._evaluate(step + 1, state, log, bar)
                    self.best = self.best._replace(logged_lines=log.lines)
                    checkpoints.save(state, self.best, self.fingerprint())
            if late is not None:
                self._record(log, bar, *late)
        return state, time.monotonic() - begin, tokens

    def _record(
        self, log: MetricsLog, bar: TrainProgress, step: int, tokens: int, metrics: Any
    ) -> None:
        values = {name: np.asarray(value).item() for name, value in metrics.items()}
        bar.update(step, tokens, values["loss"])
        if step % self.config.log_every == 0 or step == self.batches.num_steps:
            log.write(step=step, tokens=tokens, **values)

    def _evaluate(self, step: int, state: TrainState, log: MetricsLog, bar: TrainProgress) -> None:
        """Score the validation split, and note the best step."""
        epoch = step / self.batches.steps_per_epoch
        if "validation" not in self.prepared.corpora:
            self.best = self.best._replace(best_step=step)
            return
        scores, _ = self._score("validation", state.params)
        improved = scores.overall_f1 > self.best.best_score
        if improved or self.config.select == "last":
            self.best = self.best._replace(best_step=step, best_score=scores.overall_f1)
        names = ("precision", "recall", "f1", "accuracy")
        values = {name: getattr(scores, f"overall_{name}") for name in names}
        log.write(step=step, epoch=epoch, split="validation", **values)
        bar.say(
            f"epoch {epoch:.2f} · step {step} · validation F1 {scores.overall_f1:.4f} "
            f"(precision {scores.overall_precision:.4f}, recall {scores.overall_recall:.4f})"
            + (" · best so far" if improved else "")
        )

    def _score(self, split: str, params: Any) -> tuple[NerReport, Tags]:
        corpus, segments = self.prepared.corpora[split], self.prepared.segments[split]
        labels = predict_labels(
            self.steps,
            params,
            segments,
            self.mesh,
            row_length=self.config.row_length,
            num_rows=self.eval_rows,
        )
        sizes = [len(sentence.words) for sentence in corpus]
        predicted = tags_by_sentence(labels, sizes, self.prepared.scheme.tags)
        gold = [list(sentence.tags or ()) for sentence in corpus]
        return report(gold, predicted, corpus.words), predicted

    def _finish(self, params: Any, seconds: float, tokens: int) -> TrainResult:
        results: dict[str, Any] = {}
        for split in ("validation", "test"):
            if split not in self.prepared.corpora:
                continue
            scores, predicted = self._score(split, params)
            results[split] = scores.to_dict()
            corpus = self.prepared.corpora[split]
            write_predictions(
                self.run.predictions / f"{split}.conll",
                (
                    (sentence.words, sentence.tags or (), tags)
                    for sentence, tags in zip(corpus, predicted, strict=True)
                ),
            )
            self.console.print(score_table(f"{split} ({corpus.source})", results[split]))
        results["train"] = self._train_results(seconds, tokens)
        prepared = self.prepared
        card = model_card(self.config, prepared.scheme, results)
        export_folder(
            self.run.hub,
            prepared.model,
            params,
            prepared.scheme,
            prepared.tokenizer,
            fields=prepared.fields,
            card=card,
        )
        write_json(self.run.results, results)
        self.console.print(f"model for transformers and flaxner: {self.run.hub}", highlight=False)
        return TrainResult(self.run.path, self.run.hub, results)

    def _train_results(self, seconds: float, tokens: int) -> dict[str, Any]:
        shapes = sorted({(name, *shape) for name, *shape in self.steps.traces})
        return {
            "steps": self.batches.num_steps,
            "best_step": self.best.best_step,
            "seconds": round(seconds, 3),
            "tokens_per_second": round(tokens / max(seconds, 1e-9), 1),
            "fill": round(self.batches.fill(), 4),
            "compilations": len(self.steps.traces),
            "shapes": [list(shape) for shape in shapes],
            "devices": self.mesh.size,
            "device_kind": jax.devices()[0].device_kind,
            "precision": self.config.precision,
        }

    def _announce(self) -> None:
        prepared, config = self.prepared, self.config
        for split, corpus in prepared.corpora.items():
            notes = f"{len(corpus):,} sentences, {corpus.words:,} words, {corpus.scheme}"
            if corpus.repaired:
                notes += f", {corpus.repaired:,} tags repaired"
            windowed = prepared.segments[split].windowed
            if windowed:
                notes += f", {windowed:,} sentences over {config.max_length} tokens in windows"
            self.console.print(f"{split}: {corpus.source}: {notes}", highlight=False)
        if prepared.fresh:
            self.console.print(f"drawn from seed {config.seed}: {', '.join(prepared.fresh)}")
        if "validation" not in prepared.corpora:
            self.console.print("no validation corpus: the last model is kept")
        kind = jax.devices()[0].device_kind
        self.console.print(
            f"{config.model} on {self.mesh.size} x {kind}, {config.precision}: "
            f"{self.batches.num_steps:,} steps of {config.batch_size} sentences, "
            f"rows of {config.row_length} filled {self.batches.fill():.0%}",
            highlight=False,
        )
