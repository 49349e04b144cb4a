"""AdamW for only those rows of the word embedding table that the training corpus reads.

A row that no batch reads has no gradient, so its moments stay 0 and AdamW only applies weight decay
to it. Gradients and moments are therefore kept only for the rows that are read: of XLM-R's 250,002
rows, a corpus like CoNLL-2003 reads a tenth. The results equal those of the whole table, up to
rounding.

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

# Above this fraction of used rows, splitting the table costs more than it saves.
MOST = 0.5
MOMENT = ("opt_state", "mu")  # where a checkpoint stores the moments of a table
STEP = 256  # rows; rounding up, so that corpora with almost the same words have the same shapes


@dataclasses.dataclass(frozen=True, eq=False)
class UsedRows:
    """Which rows of a table are trained, and how the others decay.

    Attributes:
      path: the path of the table in the parameters.
      rows: the rows that batches may read, (U,) int32, ascending.
      size: V.
      weight_decay: AdamW's weight decay, the only update of the other rows.
    """

    path: str
    rows: np.ndarray
    size: int
    weight_decay: float

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
        """Return the parameters with the table replaced by its used rows (U, D)."""
        return {**params, self.path: params[self.path][self.rows]}

    def batch(self, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Return the batch with its input ids replaced by indices into the used rows."""
        return {**batch, "input_ids": jnp.asarray(self.places)[batch["input_ids"]]}

    def joined(self, before: Params, after: Params, rate: jax.Array) -> Params:
        """Return the updated parameters with the whole table (V, D).

        Args:
          before: parameters before the update, with the whole table.
          after: updated parameters, with the used rows.
          rate: the table's learning rate in this update.
        """
        places = jnp.asarray(self.places)
        with jax.named_scope("optimizer"):
            others_VD = before[self.path] - self.weight_decay * rate * before[self.path]
            used_VD = after[self.path][jnp.maximum(places, 0)]
            return {**after, self.path: jnp.where(places[:, None] >= 0, used_VD, others_VD)}


def used_rows(path: str, size: int, input_ids: np.ndarray, weight_decay: float) -> UsedRows | None:
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
    return UsedRows(path, np.flatnonzero(used).astype(np.int32), size, weight_decay)


def restored(
    checkpoints: Checkpoints, step: int, like: TrainState, used: UsedRows | None
) -> TrainState:
    """Restore the state from a checkpoint, as `Checkpoints.restore` does.

    Earlier versions kept the moments of the whole table; those of unused rows are 0.

    Raises:
      ValueError: the checkpoint does not exist or is damaged.
    """
    if used is None or checkpoints.saved_shape(step, *MOMENT, used.path)[0] != used.size:
        return checkpoints.restore(step, like)
    whole = _replaced(like.opt_state, used.path, lambda _: like.params[used.path])
    state = checkpoints.restore(step, like._replace(opt_state=whole))
    kept = _replaced(state.opt_state, used.path, lambda leaf: leaf[used.rows])
    return state._replace(opt_state=kept)


def _replaced(tree: Any, path: str, change: Callable[[Any], Any]) -> Any:
    """Return the tree with every leaf at the key `path` changed."""

    def visit(where: tuple[Any, ...], leaf: Any) -> Any:
        return change(leaf) if str(getattr(where[-1], "key", "")) == path else leaf

    return jax.tree_util.tree_map_with_path(visit, tree)
