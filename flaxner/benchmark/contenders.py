"""The loops that `benchmark.py train` compares, each over the same sentences.

Ours is the program that `scripts/train.py` runs. The peers are torch loops that do what the
Hugging Face Trainer does in a step: collate, forward, backward, clip, AdamW, schedule.
"""

from __future__ import annotations

import contextlib
import math
import time

import jax
import numpy as np

from flaxner.benchmark.contender import Slice
from flaxner.data.batches import TrainBatches
from flaxner.devices.mesh import make_mesh, place_batch
from flaxner.training.feed import TRAIN_INPUTS, feed
from flaxner.training.loss import Softmax
from flaxner.training.optimizer import linear_schedule, make_optimizer
from flaxner.training.preparation import Prepared
from flaxner.training.step import init_state, make_steps


class Ours:
    """flaxner's own step, fed by its own thread."""

    name = "flaxner"

    def __init__(self, prepared: Prepared, turns: int, steps: int) -> None:
        config = prepared.config
        segments = prepared.segments["train"]
        per_epoch = -(-segments.num_sentences // config.batch_size)
        self.mesh = make_mesh(config.fsdp)
        self.batches = TrainBatches(
            segments,
            config.batch_size,
            config.row_length,
            epochs=max(config.epochs, turns * steps / per_epoch),  # row counts of a real run
            seed=config.seed,
            multiple=math.lcm(self.mesh.size, self.mesh.size * config.accumulate),
        )
        schedule = linear_schedule(config.learning_rate, self.batches.num_steps, 0.1)
        optimizer = make_optimizer(schedule, weight_decay=config.weight_decay)
        self.steps = make_steps(
            prepared.model,
            Softmax(),
            optimizer,
            schedule,
            self.mesh,
            seed=config.seed,
            accumulate=config.accumulate,
        )
        self.state = init_state(prepared.params, optimizer, self.mesh)
        largest_first = sorted(self.batches.shapes, reverse=True)  # its memory serves the others
        compiling = sum(map(self._empty_step, largest_first))
        self.compile_seconds = max(compiling - sum(map(self._empty_step, largest_first)), 0.0)

    def warm(self) -> None:
        """An empty step of the most rows."""
        self._empty_step(max(self.batches.shapes))

    def _empty_step(self, rows: int) -> float:
        """Seconds of a step without a label, for what it compiles and allocates."""
        batch = {name: np.zeros((rows, self.batches.row_length), np.int32) for name in TRAIN_INPUTS}
        batch["labels"] -= 100
        begin = time.perf_counter()
        self.state, metrics = self.steps.train(self.state, place_batch(batch, self.mesh))
        jax.block_until_ready((self.state, metrics))
        return time.perf_counter() - begin

    def run(self, turn: int, turns: int, steps: int) -> Slice:
        """Steps turn * steps to (turn + 1) * steps of the run."""
        first = turn * steps
        tokens = slots = 0
        loss, late = 0.0, None
        begin = time.perf_counter()
        ready = feed(self.batches, self.mesh, first, min(first + steps, self.batches.num_steps))
        with contextlib.closing(ready):
            for _, batch, count in ready:
                self.state, metrics = self.steps.train(self.state, batch)
                tokens, slots = tokens + count, slots + batch["labels"].size
                if late is not None:
                    loss = float(late["loss"])
                late = metrics
            assert late is not None
            loss = float(late["loss"])
            jax.block_until_ready(self.state)
        seconds = time.perf_counter() - begin
        members = [self.batches.members(s) for s in range(first, first + steps)]
        lengths = self.batches.segments.lengths[np.concatenate(members)]
        sentences = self.batches.segments.sentences[np.concatenate(members)]
        squares = int((lengths**2).sum())
        return Slice(seconds, tokens, slots, len(np.unique(sentences)), squares, loss)
