"""Several seeds in one compiled step: their states are stacked and the step is vmapped over them.

Every seed has its own data order, dropout and weights. Its results equal those of its single run up
to rounding, because the compiler may sum in another order.
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
    """The training step of S seeds together; the first axis of all arrays is the seed.

    Args of the constructor:
      program: the program of a run.
      size: number of seeds.
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
            in_shardings=(self.all, (spread,) * size, whole, whole, Plan(whole, whole, whole)),
            out_shardings=(self.all, whole),
            donate_argnums=0,
            compiler_options=compiler_options(program.mesh),
        )
        self._made: dict[tuple[tuple[str, tuple[int, ...]], ...], Any] = {}

    def trace(self, batch: Mapping[str, jax.ShapeDtypeStruct]) -> Any:
        """Trace the step, as `jax.jit` does, for the shapes of one seed's batch."""
        seeds = jax.ShapeDtypeStruct((self.size,), jnp.uint32)
        active = jax.ShapeDtypeStruct((self.size,), jnp.bool_)
        plan = self.program.steps.train.planned
        return self.jitted.trace(self.state, (batch,) * self.size, seeds, active, plan)

    def compiled(self, batch: Mapping[str, Any]) -> Any:
        """Return the program for batches of these shapes, compiled on first use."""
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
    """Take a step of every seed; inactive ones stay unchanged."""
    batch = jax.tree.map(lambda *arrays: jnp.stack(arrays), *batches)
    made, metrics = jax.vmap(step, in_axes=(0, 0, 0, None))(states, batch, seeds, plan)

    def chosen(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(active.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    each = tuple({k: v[i] for k, v in metrics.items()} for i in range(len(batches)))
    return jax.tree.map(chosen, made, states), each


def stacked_sharding(sharding: NamedSharding) -> NamedSharding:
    """Extend the sharding of one seed's array to all seeds: each device has its part of each."""
    return NamedSharding(sharding.mesh, P(None, *sharding.spec))


class Stack:
    """The states of several seeds on the devices, and their common step.

    Args of the constructor:
      program: the stacked program.
      seeds: the seeds, as many as `program.size`.
    """

    def __init__(self, program: StackedProgram, seeds: Sequence[int]) -> None:
        self._program, self._seeds = program, np.asarray(seeds, np.uint32)

        def zeros() -> Any:
            return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), program.state)

        self._states = jax.jit(zeros, out_shardings=program.all)()
        self._put = jax.jit(_put, out_shardings=program.all, donate_argnums=0)
        self._get = jax.jit(_get, out_shardings=program.one)

    def train(self, batches: Sequence[Batch], active: Sequence[bool]) -> Sequence[Metrics]:
        """Take a step of the active seeds; see `lockstep.Together`."""
        step = self._program.compiled(batches[0])
        plan = self._program.program.steps.train.placed
        states, metrics = step(self._states, tuple(batches), self._seeds, np.asarray(active), plan)
        self._states = states
        return metrics

    def held(self, index: int) -> Slot:
        """Return a handle on the state of the seed at this index."""
        return Slot(self, index)

    def put(self, index: int, state: TrainState) -> None:
        """Set the state of a seed."""
        self._states = self._put(self._states, state, np.int32(index))

    def get(self, index: int) -> TrainState:
        """Return a copy of a seed's state, sharded like that of a single run."""
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
        """A copy of the state."""
        return self._stack.get(self._index)

    @state.setter
    def state(self, state: TrainState) -> None:
        self._stack.put(self._index, state)

    def release(self) -> None:
        """Do nothing, as the memory belongs to all seeds."""


class StackedPlan:
    """Row counts for the steps of several seeds, the same for all: at most three, as for one seed.

    Args of the constructor:
      batches: the batches of each seed; all have the same number of steps.
    """

    def __init__(self, batches: Sequence[TrainBatches]) -> None:
        self._needed = np.max([each.needed for each in batches], axis=0)
        counts = choose_row_counts(self._needed, batches[0].layout.counts)
        self._rows = [next(n for n in counts if n >= need) for need in self._needed.tolist()]
        self.shapes = tuple(sorted({batches[0].rounded(n) for n in counts}))

    def of(self, batches: TrainBatches) -> SeedBatches:
        """Return the batches of a seed, padded with empty rows."""
        return SeedBatches(batches, [batches.rounded(rows) for rows in self._rows])


class SeedBatches:
    """The batches of a seed that trains with others; see `feed.Plan`."""

    def __init__(self, batches: TrainBatches, rows: Sequence[int]) -> None:
        self._batches, self._rows = batches, rows
        self.shapes = tuple(sorted(set(rows)))

    def at(self, step: int, part: Part = WHOLE, /) -> Rows:
        """Return the rows of a step that belong to `part`."""
        return self._batches.at(step, part, self._rows[step])

    def tokens_at(self, step: int, /) -> int:
        """Return the number of real tokens in a step, over all parts."""
        return self._batches.tokens_at(step)

    def fill(self) -> float:
        """Return the fraction of real tokens in the rows of the first epoch."""
        return self._batches.fill(self._rows)
