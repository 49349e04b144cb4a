"""AdamW for the rows of the word table that a training corpus reads, and no others.

A row that no batch reads has no gradient, so its moments stay 0 and all that AdamW does to it is
weight decay. Gradient and moments are therefore kept of the rows that are read: of XLM-R's 250,002
a corpus like CoNLL-2003 reads a tenth. The numbers are those of the whole table, to rounding.

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

from flaxner.models.network import Params
from flaxner.runs.checkpoint import Checkpoints
from flaxner.runs.state import TrainState

# Above this share, what the division into used and other rows costs is no longer earned back.
MOST = 0.5
MOMENT = ("opt_state", "mu")  # where a checkpoint has the moments of a table
STEP = 256  # rows; so that corpora of almost the same words have programs of the same shapes


@dataclasses.dataclass(frozen=True, eq=False)
class UsedRows:
    """Which rows of a table are trained, and how the others decay.

    Attributes:
      path: of the table among the parameters.
      rows: the rows that batches may read, (U,) int32, ascending.
      size: V.
      weight_decay: AdamW's, which is all that happens to the others.
    """

    path: str
    rows: np.ndarray
    size: int
    weight_decay: float

    @functools.cached_property
    def places(self) -> np.ndarray:
        """The place of each row of the table among `rows`, else -1: (V,) int32."""
        places = np.full(self.size, -1, np.int32)
        places[self.rows] = np.arange(len(self.rows), dtype=np.int32)
        return places

    def check(self, input_ids: np.ndarray) -> None:
        """Refuse a batch that reads another row, whose gradient would be another row's.

        Raises:
          ValueError: such a batch.
        """
        if (self.places[input_ids] < 0).any():
            raise ValueError(f"a batch reads a row of {self.path} that the corpus does not have")

    def divided(self, params: Params) -> Params:
        """The parameters with the used rows (U, D) in the table's place."""
        return {**params, self.path: params[self.path][self.rows]}

    def batch(self, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """The batch with the places of its words among the used rows."""
        return {**batch, "input_ids": jnp.asarray(self.places)[batch["input_ids"]]}

    def joined(self, before: Params, after: Params, rate: jax.Array) -> Params:
        """The updated parameters with the whole table (V, D).

        Args:
          before: with the whole table, as they were.
          after: with the used rows, updated.
          rate: the table's learning rate in this update.
        """
        places = jnp.asarray(self.places)
        with jax.named_scope("optimizer"):
            others_VD = before[self.path] - self.weight_decay * rate * before[self.path]
            used_VD = after[self.path][jnp.maximum(places, 0)]
            return {**after, self.path: jnp.where(places[:, None] >= 0, used_VD, others_VD)}


def used_rows(path: str, size: int, input_ids: np.ndarray, weight_decay: float) -> UsedRows | None:
    """The rows of a table of `size` that these words read; None where most of them are read.

    Row 0, which fills the packed rows, is always among them; STEP divides their number.
    """
    used = np.zeros(size, bool)
    used[0] = True
    used[np.unique(input_ids)] = True
    more = -int(used.sum()) % STEP
    used[np.flatnonzero(~used)[:more]] = True  # trained without a gradient: the same as decay
    if used.sum() > MOST * size:
        return None
    return UsedRows(path, np.flatnonzero(used).astype(np.int32), size, weight_decay)


def restored(
    checkpoints: Checkpoints, step: int, like: TrainState, used: UsedRows | None
) -> TrainState:
    """The state of a whole checkpoint, as `Checkpoints.restore`.

    Earlier versions kept moments of the whole table; those of rows that are not used are 0 there.

    Raises:
      ValueError: no such checkpoint, or a damaged one.
    """
    if used is None or checkpoints.saved_shape(step, *MOMENT, used.path)[0] != used.size:
        return checkpoints.restore(step, like)
    whole = _replaced(like.opt_state, used.path, lambda _: like.params[used.path])
    state = checkpoints.restore(step, like._replace(opt_state=whole))
    kept = _replaced(state.opt_state, used.path, lambda leaf: leaf[used.rows])
    return state._replace(opt_state=kept)


def _replaced(tree: Any, path: str, change: Callable[[Any], Any]) -> Any:
    """The tree with every leaf that hangs below the key `path` changed."""

    def visit(where: tuple[Any, ...], leaf: Any) -> Any:
        return change(leaf) if str(getattr(where[-1], "key", "")) == path else leaf

    return jax.tree_util.tree_map_with_path(visit, tree)
