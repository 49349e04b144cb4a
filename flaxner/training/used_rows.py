"""AdamW for only those rows of the word embedding table that the training corpus reads.

A row that no batch reads has no gradient, so its moments stay 0 and AdamW only applies weight decay
to it: after any step it is its row at step 0, less a fraction that is the same for all such rows.
The state of a run therefore has only the rows that are read, and that fraction as one more
parameter, of which means over steps are taken like those of any other. Of XLM-R's 250,002 rows, a
corpus like CoNLL-2003 reads a tenth. The results equal those of the whole table, up to rounding.

Shapes: V rows of the table, U of them used, D features.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from flaxner.devices.mesh import path_sharding, place_tree, replicated, to_host
from flaxner.models.network import Params
from flaxner.runs.checkpoint import BESIDE, Checkpoints
from flaxner.runs.state import TrainState

# Above this fraction of used rows, there is too little to save for completing the table to pay off.
MOST = 0.9
MOMENT = ("opt_state", "mu")  # where a checkpoint stores the moments of a table
STEP = 256  # rows; rounding up, so that corpora with almost the same words have the same shapes


@dataclasses.dataclass(frozen=True, eq=False)
class UsedRows:
    """Which rows of a table are trained; weight decay is the only update of the others.

    Attributes:
      path: the path of the table in the parameters.
      rows: the rows that batches may read, (U,) int32, ascending.
      size: V.
    """

    path: str
    rows: np.ndarray
    size: int

    @property
    def lost(self) -> str:
        """The path of the fraction that the other rows have lost."""
        return f"{self.path}/lost"

    @functools.cached_property
    def places(self) -> np.ndarray:
        """The index of each row of the table in `rows`, or -1: (V,) int32."""
        places = np.full(self.size, -1, np.int32)
        places[self.rows] = np.arange(len(self.rows), dtype=np.int32)
        return places

    def check(self, input_ids: np.ndarray) -> None:
        """Reject a batch that reads any other row, as its gradient would go to the wrong row.

        Raises:
          ValueError: the batch reads such a row.
        """
        if (self.places[input_ids] < 0).any():
            raise ValueError(f"a batch reads a row of {self.path} that the corpus does not have")

    def divided(self, params: Params) -> Params:
        """Return the parameters of a state at step 0: the used rows of the table (U, D)."""
        return {**params, self.path: params[self.path][self.rows], self.lost: np.float32(0)}

    def joined(self, used_UD: jax.Array, lost: jax.Array, table_VD: jax.Array) -> jax.Array:
        """Return the whole table of a state (V, D).

        Args:
          used_UD: the used rows.
          lost: the fraction that the others have lost.
          table_VD: the table at step 0.
        """
        places = jnp.asarray(self.places)
        rows_VD = used_UD[jnp.maximum(places, 0)]
        return jnp.where(places[:, None] >= 0, rows_VD, table_VD - lost * table_VD)

    def measured(self, table_VD: jax.Array, before_VD: jax.Array) -> jax.Array:
        """Return the fraction that the other rows of a table have lost since another one."""
        before_VD = jnp.where(self.places[:, None] < 0, before_VD, 0)
        lost_VD = jnp.where(self.places[:, None] < 0, before_VD - table_VD, 0)
        return jnp.sum(lost_VD * before_VD) / jnp.sum(jnp.square(before_VD))

    def batch(self, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Return the batch with its input ids replaced by indices into the used rows."""
        return {**batch, "input_ids": jnp.asarray(self.places)[batch["input_ids"]]}

    def decayed(self, params: Params, fraction: jax.Array) -> Params:
        """Return the parameters of a state after an update of the other rows.

        Args:
          params: those of a state.
          fraction: what they lose of themselves: the weight decay times the table's learning rate.
        """
        lost = params[self.lost]
        return {**params, self.lost: lost + fraction * (1 - lost)}


def used_rows(path: str, size: int, input_ids: np.ndarray) -> UsedRows | None:
    """Return the rows of a table of `size` that these tokens read; None if most rows are read.

    Row 0, the padding of packed rows, is always included; the number of rows is a multiple of STEP.
    """
    used = np.zeros(size, bool)
    used[0] = True
    used[np.unique(input_ids)] = True
    more = -int(used.sum()) % STEP
    used[np.flatnonzero(~used)[:more]] = True  # trained without a gradient, which equals decay
    if used.sum() > MOST * size:
        return None
    return UsedRows(path, np.flatnonzero(used).astype(np.int32), size)


class AllRows:
    """Completes the states of a run that trains a whole table: they have all parameters."""

    def complete(self, params: Params) -> Params:
        """Return the parameters of a model, given those of a state."""
        return params

    def restored(self, checkpoints: Checkpoints, step: int, like: TrainState) -> TrainState:
        """Restore the state from a checkpoint, as `Checkpoints.restore` does."""
        return checkpoints.restore(step, like)


class OtherRows(AllRows):
    """Completes the states of a run that trains the used rows, with the others from the host.

    Args of the constructor:
      used: the rows that are trained.
      table_VD: the table at step 0.
      mesh: the devices.
    """

    def __init__(self, used: UsedRows, table_VD: np.ndarray, mesh: Mesh) -> None:
        self._used, self._table, self._mesh = used, np.asarray(table_VD), mesh
        width = self._table.shape[1]
        of_all = path_sharding(mesh, used.path, (used.size, width))
        of_used = path_sharding(mesh, used.path, (len(used.rows), width))
        self._whole = jax.ShapeDtypeStruct(self._table.shape, np.float32, sharding=of_all)
        self._join = jax.jit(used.joined, out_shardings=of_all)
        self._measure = jax.jit(used.measured, out_shardings=replicated(mesh))
        self._take = jax.jit(lambda table_VD: table_VD[used.rows], out_shardings=of_used)

    def complete(self, params: Params) -> Params:
        """Return the parameters of a model, given those of a state."""
        used, table_VD = self._used, place_tree(self._table, self._whole.sharding)
        joined_VD = self._join(params[used.path], params[used.lost], table_VD)
        return self._with(params, joined_VD)

    def restored(self, checkpoints: Checkpoints, step: int, like: TrainState) -> TrainState:
        """Restore the state from a checkpoint, as `Checkpoints.restore` does.

        Earlier versions had whole tables in their states, and before that also whole moments, those
        of the other rows being 0.

        Raises:
          ValueError: the checkpoint does not exist or is damaged.
        """
        used, whole = self._used, self._with(like.params, self._whole)
        former = checkpoints.saved_shape(step, BESIDE, used.lost) is None
        if former:
            average = self._each(like.average, lambda _: whole)
            like = like._replace(params=whole, average=average)
        if checkpoints.saved_shape(step, *MOMENT, used.path) == self._whole.shape:
            moments = self._each(like.opt_state, lambda part: {**part, used.path: self._whole})
            like = like._replace(opt_state=moments)
        state = checkpoints.restore(step, like, whole)
        saved_VD = (state.params if former else _evaluated(state))[used.path]
        state = TrainState(
            state.step,
            self._each(state.params, lambda params: self._divided(params, saved_VD)),
            self._each(state.opt_state, self._narrow),
            self._each(state.average, lambda params: self._divided(params, saved_VD)),
        )
        self._adopt(saved_VD, state.params if former else _evaluated(state))
        return state

    def _adopt(self, saved_VD: jax.Array, params: Params) -> None:
        """Go on with the other rows of a checkpoint, unless they are those of step 0 after decay.

        They are not if an earlier version saved them, or if the base model's weights were replaced.
        """
        if not bool(jnp.array_equal(self.complete(params)[self._used.path], saved_VD)):
            lost = np.asarray(params[self._used.lost])
            (saved,) = to_host({"table": saved_VD}, self._mesh).values()
            self._table = saved / (1 - lost)

    def _with(self, params: Params, table_VD: Any) -> Params:
        """Return the parameters of a model with this table, given those of a state."""
        own = {path: value for path, value in params.items() if path != self._used.lost}
        return {**own, self._used.path: table_VD}

    def _each(self, part: Any, change: Callable[[Params], Params]) -> Any:
        """Change every dict with the table or its moments in a part of a state."""

        def has_table(tree: Any) -> bool:
            return isinstance(tree, dict) and self._used.path in tree

        return jax.tree.map(lambda x: change(x) if has_table(x) else x, part, is_leaf=has_table)

    def _divided(self, params: Params, table_VD: jax.Array) -> Params:
        """Return the parameters of a state, given those of a state or model.

        What the other rows of a model have lost is measured against a table.
        """
        lost = self._used.lost
        if lost not in params:
            params = {**params, lost: self._measure(params[self._used.path], table_VD)}
        return self._narrow(params)

    def _narrow(self, part: Params) -> Params:
        """Return the dict with only the used rows of the table."""
        table = part[self._used.path]
        is_whole = table.shape == self._whole.shape
        return {**part, self._used.path: self._take(table)} if is_whole else part


def _evaluated(state: TrainState) -> Params:
    """Return the parameters whose table a checkpoint holds whole."""
    return state.params if state.average is None else state.average["mean"]
