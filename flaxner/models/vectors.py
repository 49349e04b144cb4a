"""Taggers over a fixed table of vectors, in Flax NNX: a linear layer, or an MLP over a window.

The table is not trained. Its rows are either vectors of word forms (word2vec) or a frozen BERT's
vectors of the individual occurrences in a corpus; the head is the same for both.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from flaxner.data.packing import Blocks
from flaxner.models.layers.dropout import dropout
from flaxner.models.layers.neighbours import neighbours
from flaxner.models.network import Params, Unbound, flat_params

Array = jax.Array
TABLE = "table/embedding"


@dataclasses.dataclass(frozen=True)
class StaticConfig:
    """Sizes of a tagger over fixed vectors.

    Attributes:
      rows: vectors in the table; row 0 is padding, row 1 stands for unknown words.
      width: dimensions of a vector.
      num_labels: classes.
      window: words visible on each side; 0 is a linear layer on the word's own vector.
      hidden: units of the window's hidden layer.
      dropout: dropout rate for the vectors and the hidden layer.
    """

    rows: int
    width: int
    num_labels: int
    window: int = 0
    hidden: int = 128
    dropout: float = 0.1


EXACT = jax.lax.Precision.HIGHEST  # float32 on every back end, see layers/dense.py
PADDING, UNKNOWN, FIRST = 0, 1, 2  # rows of the table; real vectors start at FIRST


class StaticTagger(nnx.Module):
    """Vectors of a word (and its neighbours) -> logits (Collobert et al. 2011, section 3.3)."""

    def __init__(self, config: StaticConfig, *, rngs: nnx.Rngs) -> None:
        self.config = config
        self.table = nnx.Embed(config.rows, config.width, rngs=rngs)
        self.unknown = nnx.Param(jnp.zeros((config.width,), jnp.float32))
        size = config.width * (2 * config.window + 1)
        if config.window:
            self.hidden = nnx.Linear(size, config.hidden, precision=EXACT, rngs=rngs)
            size = config.hidden
        self.classifier = nnx.Linear(size, config.num_labels, precision=EXACT, rngs=rngs)

    def __call__(
        self,
        input_ids_BL: Array,
        segment_ids_BL: Array,
        position_ids_BL: Array,
        *,
        dropout_key: Array | None = None,
    ) -> Array:
        """Compute logits_BLC; a window ends where its segment ends."""
        keys = (None, None) if dropout_key is None else jax.random.split(dropout_key)
        known_BLD = self.table(input_ids_BL)
        is_unknown_BL1 = (input_ids_BL == UNKNOWN)[..., None]
        x_BLD = jnp.where(is_unknown_BL1, self.unknown.get_value(), known_BLD)
        x_BLD = dropout(x_BLD, self.config.dropout, keys[0])
        if self.config.window:
            x_BLD = neighbours(x_BLD, segment_ids_BL, self.config.window)
            x_BLD = dropout(jax.nn.relu(self.hidden(x_BLD)), self.config.dropout, keys[1])
        return self.classifier(x_BLD)


@dataclasses.dataclass(frozen=True)
class StaticModel:
    """The static half of a `StaticTagger`; a `Network`, like BERT's `Model`."""

    config: StaticConfig

    @functools.cached_property
    def _unbound(self) -> Unbound:
        return Unbound(lambda: StaticTagger(self.config, rngs=nnx.Rngs(0)))

    @property
    def frozen(self) -> Collection[str]:
        """Path of the table."""
        return (TABLE,)

    @property
    def shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """path -> shape and dtype of every parameter."""
        return self._unbound.shapes

    def init(self, seed: int, table: Any) -> Params:
        """Draw a head over `table` (rows, width), whose first rows are padding and unknown."""
        small = StaticTagger(dataclasses.replace(self.config, rows=FIRST), rngs=nnx.Rngs(seed))
        return {**flat_params(small), TABLE: table}

    def apply(
        self,
        params: Mapping[str, Any],
        input_ids_BL: Array,
        segment_ids_BL: Array,
        position_ids_BL: Array,
        *,
        dropout_key: Array | None = None,
        blocks: Blocks | None = None,
    ) -> Array:
        """Compute logits_BLC; see `StaticTagger.__call__`. Blocks make no difference."""
        network = self._unbound.bind(params)
        return network(input_ids_BL, segment_ids_BL, position_ids_BL, dropout_key=dropout_key)
