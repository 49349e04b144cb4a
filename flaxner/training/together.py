"""Training several seeds together: how many fit, with which program, each in its own run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from rich.console import Console

from flaxner.config.train import TrainConfig
from flaxner.data.batches import TrainBatches
from flaxner.devices import processes
from flaxner.devices.memory import bytes_on_a_device, memory_of
from flaxner.training.lockstep import Stepwise, run_together
from flaxner.training.loop import Loop
from flaxner.training.members import Member, Whole
from flaxner.training.preparation import Prepared
from flaxner.training.program import Program, batches_of, decoder_of, program_over
from flaxner.training.progress import TrainProgress, announce
from flaxner.training.session import checked, running, stops_told
from flaxner.training.shared import Shared
from flaxner.training.stack import Stack, StackedPlan, StackedProgram
from flaxner.training.stopping import Interruption
from flaxner.training.trainer import Trainer, TrainResult
from flaxner.training.watching import Watch

USABLE = 0.95  # fraction of memory; the rest is for batches and what the allocator cannot use
BESIDE = 2  # extra states of one seed outside the stack: during evaluation and saving


class Stacks:
    """The stacked programs of the seeds of a run.

    Args of the constructor:
      prepared: the prepared run of one of the seeds.
      seeds: all seeds of the run, including finished ones, so that a resumed run has the same
        shapes.
    """

    def __init__(self, prepared: Prepared, seeds: Sequence[int]) -> None:
        self._batches = {
            seed: batches_of(
                dataclasses.replace(prepared, config=prepared.config.replace(seed=seed))
            )
            for seed in seeds
        }
        every = list(self._batches.values())
        self.plan = StackedPlan(every)
        decoder = decoder_of(prepared, every[0])  # the same for all
        self.rows_first = prepared.model.encoder.rows_first
        self.program = program_over(prepared, every[0], decoder)
        self._config = prepared.config
        self._made: dict[int, StackedProgram] = {}

    def of(self, size: int) -> StackedProgram:
        """Return the program for `size` seeds."""
        if size not in self._made:
            self._made[size] = StackedProgram(self.program, size)
        return self._made[size]

    def compute(self, seed: int) -> tuple[Program, TrainBatches]:
        """Return the program that a seed evaluates with, and its batches."""
        batches = self._batches[seed]
        program = self.program.of_run(self._config.replace(seed=seed), batches.num_steps)
        return program, batches

    @property
    def state(self) -> int:
        """Bytes per device of one seed's state."""
        return bytes_on_a_device(self.program.abstract_state())

    @property
    def table(self) -> int:
        """Bytes per device of a whole word table; 0 if states have it."""
        used, params = self.program.used, self.program.abstract_params()
        return 0 if used is None else bytes_on_a_device(params[used.path])

    def needs(self, size: int) -> int | None:
        """Return the bytes per device of the largest step; None if the compiler rejects it."""
        shape = (self.plan.shapes[-1], self._config.packed_length)
        batch = self.program.abstract_batch(*shape, labelled=True)
        try:
            used = self.of(size).compiled(batch).memory_analysis()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return None
        step = used.argument_size_in_bytes + used.output_size_in_bytes - used.alias_size_in_bytes
        return step + used.temp_size_in_bytes + used.generated_code_size_in_bytes

    def fitting(self, wanted: int, room: int) -> tuple[int, int]:
        """Return how many of `wanted` seeds fit (at least 1), and a lower bound on their bytes."""
        usable, beside = int(room * USABLE), BESIDE * self.state + self.table
        asked = wanted * self.state + beside
        size = max(min(wanted, (usable - beside) // self.state), 1)  # needs no compilation
        while size > 1:
            needed = self.needs(size)
            total = beside + (room if needed is None else needed)
            asked = max(asked, total)
            if total <= usable:
                break
            fewer = int(size * usable / total) if needed is not None else size * 3 // 4
            size = max(min(size - 1, fewer), 1)
        return size, asked


def at_once(config: TrainConfig, stacks: Callable[[], Stacks]) -> tuple[int, str]:
    """Return how many seeds to train in one step, and why, in one line.

    Args:
      config: settings with several `seeds`.
      stacks: creates their programs, called only if memory has to be checked.

    Raises:
      ValueError: more seeds are requested than fit (the message says how many fit), or the model is
        one whose seeds would differ from their single runs.
    """
    given = min(config.seeds_at_once, config.seeds)
    if given == 1:
        return 1, "training one seed at a time, as requested with --seeds-at-once 1"
    if not given and jax.default_backend() == "cpu":
        return 1, "training one seed at a time: the step of one seed keeps a CPU's cores busy"
    wanted = given or config.seeds
    made = stacks()
    if not made.rows_first:  # seeds trained together all have as many rows as the fullest one
        why = (
            "dropout in this model family depends on the number of rows, which seeds trained "
            "together share"
        )
        if given:
            raise ValueError(f"--seeds-at-once {given} is not possible: {why}; leave it out")
        return 1, f"training one seed at a time: {why}"
    room = processes.on_main(lambda: memory_of(jax.local_devices()[0]))
    if room is None:
        return wanted, f"{wanted} seeds in one step; the memory of a device is unknown"
    size, needed = made.fitting(wanted, room)
    sizes = f"{_gib(needed)} of {_gib(room)} GiB per device"
    if size == wanted:
        return size, f"{wanted} seeds in one step ({sizes})"
    if given:
        raise ValueError(
            f"--seeds-at-once {given} does not fit: it needs at least {sizes}, of which "
            f"{USABLE:.0%} is usable; --seeds-at-once {size} fits"
        )
    return size, f"{wanted} seeds in one step do not fit (at least {sizes}): {size} at a time"


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f}"


def train_together(
    members: Sequence[Member],
    stacks: Stacks,
    shared: Shared,
    console: Console,
    watch: Watch,
    whole: Whole,
) -> list[Mapping[str, Any]]:
    """Train several seeds with a common step, and return results.json of each.

    Args:
      members: the settings and folders of the seeds.
      stacks: their programs.
      shared: what they have in common.
      console: where progress is shown.
      watch: called after every evaluation of every seed.
      whole: the folder of all members.

    Raises:
      ValueError, RunStopped: as for `flaxner.train`.
    """
    with running(members[0].run, console) as interruption:
        try:
            seeds = [member.config.seed for member in members]
            prepared = [checked(member.config, member.run, shared) for member in members]
            whole.begin()
            for member in members:
                member.run.lock()
            stack = Stack(stacks.of(len(members)), seeds)
            trainers = []
            for index, (member, ready) in enumerate(zip(members, prepared, strict=True)):
                compute = stacks.compute(member.config.seed)
                loop = Loop(ready, member.run, console, interruption, compute)
                loop.watch, loop.held = watch, stack.held(index)
                loop.feeding = stacks.plan.of(compute[1])
                trainer = Trainer(loop)
                trainer.title, trainer.at_once = member.title, len(members)
                trainer.accepted = whole.accept
                trainers.append(trainer)
            fill = trainers[0].loop.feeding.fill()
            announce(prepared[0], trainers[0].batches, stacks.program.mesh, console, fill)
            with TrainProgress(console, trainers[0].batches.num_steps) as progress:
                for trainer in trainers:
                    trainer.loop.bar = progress.part(f"seed {trainer.config.seed}")
                works = [_told(trainer, interruption) for trainer in trainers]
                return [result.results for result in run_together(works, stack)]
        finally:
            for member in members:
                member.run.release()


def _told(trainer: Trainer, interruption: Interruption) -> Stepwise[TrainResult]:
    """Run one seed, with failure messages that name its run."""
    with stops_told(trainer.run, interruption):
        return (yield from trainer.stepwise())
