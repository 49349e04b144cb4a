"""The table of relative positions, as seen by the queries and keys of a layer.

Softmax ignores anything that adds the same number to all scores of a query: its true gradient is
zero, but rounding leaves noise that Adam would amplify to full steps. Where relative positions
serve as keys, the bias of their norm adds such a number, except where dropout changes it.

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
      queries_RD: the embeddings, layer-normalised if the settings ask for it.
      keys_RD: the same values, with no gradient to the norm's bias.
      bias_D: that bias; None without a norm.
      rows_E: the table row for each distance.
    """

    queries_RD: Array
    keys_RD: Array
    bias_D: Array | None
    rows_E: Array

    @classmethod
    def of(cls, table_RD: Array, norm: LayerNorm | None, rows_E: Array) -> RelativeTable:
        """Build the table for a batch whose rows have (E + 1) / 2 positions."""
        if norm is None:
            return cls(table_RD, table_RD, None, rows_E)
        assert norm.bias is not None
        # In float32, so that their gradients are also summed over the layers in float32.
        queries_RD, keys_RD = (
            normed(table_RD).astype(jnp.float32) for normed in (norm, norm.with_fixed_bias)
        )
        return cls(queries_RD, keys_RD, norm.bias.get_value(), rows_E)

    def by_distance(self, rate: float, key: Array | None) -> tuple[Array, Array]:
        """Return relative embeddings for queries and keys, x_ED each; only their gradients differ.

        Args:
          rate: dropout rate; both share one mask.
          key: PRNG key, or None for inference.
        """
        queries_RD, keys_RD = (dropout(x_RD, rate, key) for x_RD in (self.queries_RD, self.keys_RD))
        if self.bias_D is not None and key is not None:
            # Dropout scales or zeroes the bias differently from key to key, so that part of it
            # does get a gradient.
            changed_RD = dropout(jnp.ones_like(keys_RD), rate, key) - 1
            keys_RD += changed_RD * zero_with_gradient(self.bias_D)
        queries_ED, keys_ED = (lookup(x_RD, self.rows_E) for x_RD in (queries_RD, keys_RD))
        return queries_ED, keys_ED
