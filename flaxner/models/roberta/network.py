"""RoBERTa for token classification in Flax NNX (Liu et al. 2019, arXiv:1907.11692).

It is BERT's network except for its positions: their rows in the table start after the padding
token's, which padding tokens use. XLM-R (Conneau et al. 2020, arXiv:1911.02116) and CamemBERT
(Martin et al. 2020, arXiv:1911.03894) have the same architecture under other names.

Shapes: B rows, L positions.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from flaxner.models.layers.post_norm import PostNormClassifier
from flaxner.models.roberta.config import RobertaConfig

Array = jax.Array


class RobertaForTokenClassification(PostNormClassifier):
    """RoBERTa with a linear classifier on every position.

    Args:
      config: sizes, activation, dropout rates, number of labels.
      rngs: `nnx.Rngs(seed)` for the initial weights (normal, `initializer_range`).
      compute: dtype and layout of the computation.
    """

    config: RobertaConfig

    def packed_positions(self, input_ids_BL: Array, position_ids_BL: Array) -> Array:
        """Convert positions that count from 0 within a segment to rows of the position table.

        A padding token within a text (someone wrote "<pad>") gets the padding row and is not
        counted: the tokens after it get the same rows as they would without it.
        """
        padding = self.config.first_position - 1
        pad_BL = (input_ids_BL == padding).astype(jnp.int32)
        upto_BL = jnp.cumsum(pad_BL, axis=1)
        # The count of padding tokens never decreases along a row, so the largest count at any
        # segment start so far is the count at the start of the token's own segment.
        begin_BL = jax.lax.cummax(jnp.where(position_ids_BL == 0, upto_BL - pad_BL, 0), axis=1)
        counted_BL = position_ids_BL - (upto_BL - begin_BL) + padding + 1
        return jnp.where(pad_BL == 1, padding, counted_BL)
