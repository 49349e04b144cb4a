"""ELECTRA for token classification in Flax NNX (Clark et al. 2020, arXiv:2003.10555).

It is BERT's network on embeddings that may be narrower than the blocks. The discriminator is
fine-tuned; its pretraining head and the generator are ignored.

Shapes: B rows, L positions, D features.
"""

from __future__ import annotations

import jax
from flax import nnx

from flaxner.models.electra.config import ElectraConfig
from flaxner.models.layers.blocks import linear
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.post_norm import PostNormClassifier

Array = jax.Array


class ElectraForTokenClassification(PostNormClassifier):
    """ELECTRA with a linear classifier on every position.

    Args:
      config: sizes, activation, dropout rates, number of labels.
      rngs: `nnx.Rngs(seed)` for the initial weights (normal, `initializer_range`).
      compute: dtype and layout of the computation.
    """

    def __init__(
        self, config: ElectraConfig, *, rngs: nnx.Rngs, compute: Compute | None = None
    ) -> None:
        compute = compute or Compute()
        super().__init__(config, rngs=rngs, compute=compute, width=config.embedding_size)
        self.projection = (
            linear(
                config.embedding_size, config.hidden_size, config.initializer_range, compute, rngs
            )
            if config.projects
            else None
        )

    def embed(
        self,
        input_ids_BL: Array,
        position_ids_BL: Array,
        token_type_ids_BL: Array,
        key: Array | None,
    ) -> Array:
        """Embed tokens as x_BLD, projected to the width of the blocks."""
        x_BLD = super().embed(input_ids_BL, position_ids_BL, token_type_ids_BL, key)
        return x_BLD if self.projection is None else self.projection(x_BLD)
