"""The table of relative positions, as the queries and the keys of a layer see it.

What adds the same number to all scores of a query, softmax takes no notice of: its gradient is
zero, but rounding leaves noise that Adam would blow up to full steps. Where relative positions
are keys, the bias of their norm is such a number, but for what dropout zeroes of it.

Shapes: D features, R rows of the table, E distances.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from flaxner.models.layers.attention import zero_with_gradient
from flaxner.models.layers.blocks import LayerNorm
from flaxner.models.layers.dropout import dropout
from flaxner.models.layers.lookup import lookup

Array = jax.Array


class RelativeTable(NamedTuple):
    """Relative embeddings, the same for all layers.

    Attributes:
      queries_RD: the embeddings, normed where the settings say so.
      keys_RD: the same numbers, the norm's bias held fixed.
      bias_D: that bias; None without norm.
      rows_E: the row of each distance.
    """

    queries_RD: Array
    keys_RD: Array
    bias_D: Array | None
    rows_E: Array

    @classmethod
    def of(cls, table_RD: Array, norm: LayerNorm | None, rows_E: Array) -> RelativeTable:
        """The table of a batch whose rows have (E + 1) / 2 positions."""
        if norm is None:
            return cls(table_RD, table_RD, None, rows_E)
        assert norm.bias is not None
        # In float32, so that the sum of their gradients over the layers is.
        queries_RD, keys_RD = (
            normed(table_RD).astype(jnp.float32) for normed in (norm, norm.with_fixed_bias)
        )
        return cls(queries_RD, keys_RD, norm.bias.get_value(), rows_E)

    def by_distance(self, rate: float, key: Array | None) -> tuple[Array, Array]:
        """Relative embeddings for queries and for keys, x_ED each, equal but for gradients.

        Args:
          rate: of dropout, whose mask both share.
          key: PRNG key, or None for inference.
        """
        queries_RD, keys_RD = (dropout(x_RD, rate, key) for x_RD in (self.queries_RD, self.keys_RD))
        if self.bias_D is not None and key is not None:
            # An element of the bias that dropout scales or zeroes is no longer the same for all.
            changed_RD = dropout(jnp.ones_like(keys_RD), rate, key) - 1
            keys_RD += changed_RD * zero_with_gradient(self.bias_D)
        queries_ED, keys_ED = (lookup(x_RD, self.rows_E) for x_RD in (queries_RD, keys_RD))
        return queries_ED, keys_ED
