"""The loops that `benchmark.py train` compares, each over the same sentences.

Ours is the program that `scripts/train.py` runs, torch's is `TorchLoop`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable

import jax
import numpy as np

from flaxner.benchmark.contender import Slice
from flaxner.benchmark.torch_loop import PEERS, TorchLoop, torch_model
from flaxner.data.packing import fill_rows
from flaxner.data.segments import Segments
from flaxner.devices.mesh import place_batch
from flaxner.training.feed import feed
from flaxner.training.preparation import Prepared
from flaxner.training.program import program_of_run


class Ours:
    """flaxner's own step, fed by its own thread."""

    name = "flaxner"

    def __init__(self, prepared: Prepared, turns: int, steps: int) -> None:
        config = prepared.config
        per_epoch = -(-prepared.segments["train"].num_sentences // config.batch_size)
        config = config.replace(epochs=max(config.epochs, turns * steps / per_epoch))
        prepared = dataclasses.replace(prepared, config=config)  # row counts of a real run
        self.program, self.batches = program_of_run(prepared)
        self.state = self.program.init(prepared.params)
        largest_first = sorted(self.batches.shapes, reverse=True)  # the others reuse its memory
        compiling = sum(map(self._empty_step, largest_first))
        self.compile_seconds = max(compiling - sum(map(self._empty_step, largest_first)), 0.0)

    def warm(self) -> None:
        """Run an empty step with the largest number of rows."""
        self._empty_step(max(self.batches.shapes))

    def _empty_step(self, rows: int) -> float:
        """Run a step without labels, which compiles and allocates; return its seconds."""
        empty = fill_rows(self.batches.segments, [], self.batches.row_length, rows)
        begin = time.perf_counter()
        placed = place_batch(self.program.arrays(empty), self.program.mesh)
        self.state, metrics = self.program.steps.train(self.state, placed)
        jax.block_until_ready((self.state, metrics))
        return time.perf_counter() - begin

    def run(self, turn: int, turns: int, steps: int, done: Callable[[], object]) -> Slice:
        """Train steps turn * steps to (turn + 1) * steps of the run."""
        first = turn * steps
        tokens = slots = 0
        loss, late = 0.0, None
        begin = time.perf_counter()
        end = min(first + steps, self.batches.num_steps)
        ready = feed(self.batches, self.program, first, end)
        with contextlib.closing(ready):
            for _, batch, count in ready:
                self.state, metrics = self.program.steps.train(self.state, batch)
                tokens, slots = tokens + count, slots + batch["labels"].size
                if late is not None:
                    loss = float(late["loss"])
                late = metrics
                done()
            assert late is not None
            loss = float(late["loss"])
            jax.block_until_ready(self.state)
        seconds = time.perf_counter() - begin
        members = [self.batches.members(s) for s in range(first, first + steps)]
        sentences, squares = _seen(self.batches.segments, members)
        return Slice(seconds, tokens, slots, sentences, squares, loss)


class Torch:
    """One of PEERS, starting from the same weights as ours."""

    def __init__(self, name: str, prepared: Prepared, turns: int, steps: int) -> None:
        self.name = name
        self.segments = prepared.segments["train"]
        model = torch_model(prepared)
        self.loop = TorchLoop(model, self.segments, prepared.config, turns * steps, PEERS[name])
        self.order = self.loop.epoch()
        lengths = self.segments.lengths
        self.longest = max(self.order, key=lambda batch: int(lengths[batch].max()))
        # torch.compile may compile more than once.
        some = self._batches(0, steps) if PEERS[name].compiled else [self.order[0]]
        first, again = (sum(map(self._seconds, [self.longest, *some])) for _ in range(2))
        self.compile_seconds = max(first - again, 0.0)

    def warm(self) -> None:
        """Run a step on the batch with the longest sentence."""
        self._seconds(self.longest)

    def _seconds(self, members: np.ndarray) -> float:
        """Take a step; return how long it took."""
        begin = time.perf_counter()
        self.loop.step(members)
        self.loop.wait()
        return time.perf_counter() - begin

    def _batches(self, turn: int, steps: int) -> list[np.ndarray]:
        """Return every stride-th batch of the epoch, so that each turn sees all lengths."""
        stride = max(len(self.order) // steps, 1)
        return [self.order[(turn % stride + i * stride) % len(self.order)] for i in range(steps)]

    def run(self, turn: int, turns: int, steps: int, done: Callable[[], object]) -> Slice:
        """Train on the batches of a turn."""
        chosen = self._batches(turn, steps)
        begin = time.perf_counter()
        taken = []
        for members in chosen:
            taken.append(self.loop.step(members))
            done()
        self.loop.wait()
        seconds = time.perf_counter() - begin
        tokens = sum(int(self.segments.lengths[members].sum()) for members in chosen)
        sentences, squares = _seen(self.segments, chosen)
        slots = sum(step.slots for step in taken)
        return Slice(seconds, tokens, slots, sentences, squares, float(taken[-1].loss))


def _seen(segments: Segments, batches: list[np.ndarray]) -> tuple[int, int]:
    """Number of sentences in these batches, and the sum of the squared segment lengths."""
    members = np.concatenate(batches)
    return len(np.unique(segments.sentences[members])), int((segments.lengths[members] ** 2).sum())
