"""Several seeds trained at once: how many, by which program, each in its own run folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from rich.console import Console

from flaxner.config.train import TrainConfig
from flaxner.data.batches import TrainBatches
from flaxner.devices import processes
from flaxner.devices.lost_process import say_on_loss
from flaxner.devices.memory import bytes_on_a_device, memory_of
from flaxner.training.lockstep import Stepwise, run_together
from flaxner.training.members import Member, Whole
from flaxner.training.preparation import Prepared
from flaxner.training.program import Program, batches_of, decoder_of, program_over
from flaxner.training.progress import TrainProgress, announce
from flaxner.training.session import checked, stops_told
from flaxner.training.shared import Shared
from flaxner.training.stack import Stack, StackedPlan, StackedProgram
from flaxner.training.stopping import Interruption, go_on
from flaxner.training.trainer import Trainer, TrainResult
from flaxner.training.watching import Watch

USABLE = 0.95  # of the memory: the rest is for batches and what the allocator cannot use
BESIDE = 2  # states of one seed beside the stack: in evaluation, in saving


class Stacks:
    """The stacked programs of the seeds of a run.

    Args of the constructor:
      prepared: of one of the seeds.
      seeds: all of the run, those that have ended too, so that a run that goes on finds the same
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
        """The program of so many seeds."""
        if size not in self._made:
            self._made[size] = StackedProgram(self.program, size)
        return self._made[size]

    def compute(self, seed: int) -> tuple[Program, TrainBatches]:
        """What a seed evaluates with, and its batches."""
        batches = self._batches[seed]
        program = self.program.of_run(self._config.replace(seed=seed), batches.num_steps)
        return program, batches

    @property
    def state(self) -> int:
        """Bytes on a device of one seed's state."""
        return bytes_on_a_device(self.program.abstract_state())

    def needs(self, size: int) -> int | None:
        """Bytes on a device of the largest step of so many seeds; None: the compiler refuses it."""
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
        """How many of so many seeds fit, at least 1, and bytes that those wanted need, at least."""
        usable, beside = int(room * USABLE), BESIDE * self.state
        asked = wanted * self.state + beside
        size = max(min(wanted, (usable - beside) // self.state), 1)  # before anything is compiled
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
    """How many seeds to train in one step, and why, in a line.

    Args:
      config: with several `seeds`.
      stacks: makes their programs, where memory is to be asked for.

    Raises:
      ValueError: more are asked for than fit, and the number that fits is named; or the model is
        one whose seeds do not stay what they are alone.
    """
    given = min(config.seeds_at_once, config.seeds)
    if given == 1:
        return 1, "seeds one after the other, as --seeds-at-once 1 says"
    if not given and jax.default_backend() == "cpu":
        return 1, (
            "seeds one after the other: one seed's step keeps a CPU's cores busy "
            f"(--seeds-at-once {config.seeds} trains all in one step)"
        )
    wanted = given or config.seeds
    made = stacks()
    if not made.rows_first:  # seeds at once have as many rows as the fullest of them
        why = (
            "what dropout zeroes in a model of this family depends on the number of rows, which "
            "seeds at once share"
        )
        if given:
            raise ValueError(f"--seeds-at-once {given} is refused: {why}; leave it out")
        return 1, f"seeds one after the other: {why}"
    room = processes.on_main(lambda: memory_of(jax.local_devices()[0]))
    if room is None:
        return wanted, f"{wanted} seeds in one step; how much memory a device has is not known"
    size, needed = made.fitting(wanted, room)
    sizes = f"{_gib(needed)} of {_gib(room)} GiB a device"
    if size == wanted:
        return size, f"{wanted} seeds in one step ({sizes})"
    if given:
        raise ValueError(
            f"--seeds-at-once {given} does not fit: it takes at least {sizes}, of which "
            f"{USABLE:.0%} can be used; --seeds-at-once {size} fits"
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
    """Train several seeds in one step each; results.json of each.

    Args:
      members: their settings and folders.
      stacks: their programs.
      shared: what they have in common.
      console: where progress goes.
      watch: is told of every evaluation of each.
      whole: of all members.

    Raises:
      ValueError, RunStopped: as `flaxner.train`.
    """
    say_on_loss(lambda: go_on(members[0].run))
    with (
        Interruption(lambda text: console.print(text, highlight=False)) as interruption,
        stops_told(members[0].run, interruption),
    ):
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
                trainer = Trainer(ready, member.run, console, interruption, compute)
                trainer.title, trainer.at_once = member.title, len(members)
                trainer.loop.watch, trainer.accepted = watch, whole.accept
                trainer.loop.feeding = stacks.plan.of(compute[1])
                trainer.loop.held = stack.held(index)
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
    """A seed's run, whose failures are told of it."""
    with stops_told(trainer.run, interruption):
        return (yield from trainer.stepwise())
