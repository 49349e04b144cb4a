"""Several seeds in one compiled step: their states stacked, the step vmapped over them.

Every seed has its own order, dropout and weights; its numbers are those of its single run, but for
the rounding of sums that the compiler takes in another order.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from flaxner.data.batches import TrainBatches
from flaxner.data.packing import Rows, choose_row_counts
from flaxner.devices.compiler_options import compiler_options
from flaxner.devices.mesh import batch_sharding, replicated
from flaxner.devices.processes import WHOLE, Part
from flaxner.runs.state import TrainState
from flaxner.training.lockstep import Held
from flaxner.training.program import Program
from flaxner.training.rates import Plan
from flaxner.training.step import Batch, Metrics


class StackedProgram:
    """The training step of S seeds at once; the first axis of all arrays is the seed.

    Args of the constructor:
      program: of a run.
      size: how many seeds.
    """

    def __init__(self, program: Program, size: int) -> None:
        self.program, self.size = program, size
        single = program.abstract_state()
        self.one = jax.tree.map(lambda leaf: leaf.sharding, single)
        self.all = jax.tree.map(stacked_sharding, self.one)
        self.state = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(
                (size, *leaf.shape), leaf.dtype, sharding=sharding
            ),
            single,
            self.all,
        )
        whole, spread = replicated(program.mesh), batch_sharding(program.mesh)
        train = program.steps.train
        self.jitted = jax.jit(
            functools.partial(_steps, train.function),
            in_shardings=(self.all, (spread,) * size, whole, whole, Plan(whole, whole)),
            out_shardings=(self.all, whole),
            donate_argnums=0,
            compiler_options=compiler_options(program.mesh),
        )
        self._made: dict[tuple[tuple[str, tuple[int, ...]], ...], Any] = {}

    def trace(self, batch: Mapping[str, jax.ShapeDtypeStruct]) -> Any:
        """As `jax.jit`'s, of the shapes of one seed's batch."""
        seeds = jax.ShapeDtypeStruct((self.size,), jnp.uint32)
        active = jax.ShapeDtypeStruct((self.size,), jnp.bool_)
        plan = self.program.steps.train.planned
        return self.jitted.trace(self.state, (batch,) * self.size, seeds, active, plan)

    def compiled(self, batch: Mapping[str, Any]) -> Any:
        """The program for batches of these shapes; compiled once."""
        key = tuple((name, tuple(array.shape)) for name, array in sorted(batch.items()))
        if key not in self._made:
            spread = batch_sharding(self.program.mesh)
            shapes = {
                name: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=spread)
                for name, array in batch.items()
            }
            self._made[key] = self.trace(shapes).lower().compile()
        return self._made[key]


def _steps(
    step: Any,
    states: TrainState,
    batches: tuple[Batch, ...],
    seeds: jax.Array,
    active: jax.Array,
    plan: Plan,
) -> tuple[TrainState, tuple[Metrics, ...]]:
    """A step of every seed; those that are not active stay as they are."""
    batch = jax.tree.map(lambda *arrays: jnp.stack(arrays), *batches)
    made, metrics = jax.vmap(step, in_axes=(0, 0, 0, None))(states, batch, seeds, plan)

    def chosen(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(active.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    each = tuple({k: v[i] for k, v in metrics.items()} for i in range(len(batches)))
    return jax.tree.map(chosen, made, states), each


def stacked_sharding(sharding: NamedSharding) -> NamedSharding:
    """That of one seed's array, for those of all: every device has its part of each seed."""
    return NamedSharding(sharding.mesh, P(None, *sharding.spec))


class Stack:
    """The states of several seeds on the devices, and the step that takes all of them.

    Args of the constructor:
      program: the stacked one.
      seeds: as many as it is for.
    """

    def __init__(self, program: StackedProgram, seeds: Sequence[int]) -> None:
        self._program, self._seeds = program, np.asarray(seeds, np.uint32)

        def zeros() -> Any:
            return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), program.state)

        self._states = jax.jit(zeros, out_shardings=program.all)()
        self._put = jax.jit(_put, out_shardings=program.all, donate_argnums=0)
        self._get = jax.jit(_get, out_shardings=program.one)

    def train(self, batches: Sequence[Batch], active: Sequence[bool]) -> Sequence[Metrics]:
        """A step of those that are active; see `lockstep.Together`."""
        step = self._program.compiled(batches[0])
        plan = self._program.program.steps.train.placed
        states, metrics = step(self._states, tuple(batches), self._seeds, np.asarray(active), plan)
        self._states = states
        return metrics

    def held(self, index: int) -> Slot:
        """The state of a seed, by its place."""
        return Slot(self, index)

    def put(self, index: int, state: TrainState) -> None:
        """Give a seed its state."""
        self._states = self._put(self._states, state, np.int32(index))

    def get(self, index: int) -> TrainState:
        """A copy of a seed's state, placed as a single run's is."""
        return self._get(self._states, np.int32(index))


def _put(states: TrainState, state: TrainState, index: jax.Array) -> TrainState:
    return jax.tree.map(lambda all_, one: all_.at[index].set(one), states, state)


def _get(states: TrainState, index: jax.Array) -> TrainState:
    return jax.tree.map(lambda all_: all_[index], states)


class Slot(Held):
    """The state of one seed in a stack."""

    def __init__(self, stack: Stack, index: int) -> None:
        self._stack, self._index = stack, index

    @property
    def state(self) -> TrainState:
        """A copy."""
        return self._stack.get(self._index)

    @state.setter
    def state(self, state: TrainState) -> None:
        self._stack.put(self._index, state)

    def release(self) -> None:
        """Nothing: the memory is that of all."""


class StackedPlan:
    """Row counts of the steps of several seeds, alike for all: at most three, as of one.

    Args of the constructor:
      batches: of each seed; all have as many steps.
    """

    def __init__(self, batches: Sequence[TrainBatches]) -> None:
        self._needed = np.max([each.needed for each in batches], axis=0)
        counts = choose_row_counts(self._needed, batches[0].layout.counts)
        self._rows = [next(n for n in counts if n >= need) for need in self._needed.tolist()]
        self.shapes = tuple(sorted({batches[0].rounded(n) for n in counts}))

    def of(self, batches: TrainBatches) -> SeedBatches:
        """The batches of a seed, filled up with empty rows."""
        return SeedBatches(batches, [batches.rounded(rows) for rows in self._rows])


class SeedBatches:
    """The batches of a seed that trains with others; see `feed.Plan`."""

    def __init__(self, batches: TrainBatches, rows: Sequence[int]) -> None:
        self._batches, self._rows = batches, rows

    def at(self, step: int, part: Part = WHOLE, /) -> Rows:
        """The rows of a step that belong to `part`."""
        return self._batches.at(step, part, self._rows[step])

    def tokens_at(self, step: int, /) -> int:
        """Real tokens of a step, over all parts."""
        return self._batches.tokens_at(step)

    def fill(self) -> float:
        """Share of real tokens in the rows of the first epoch."""
        return self._batches.fill(self._rows)
