"""BERT for token classification in Flax NNX (Devlin et al. 2019, arXiv:1810.04805).

The computation follows `transformers`' PyTorch `BertForTokenClassification`, so that weights
move both ways without change. Two things are ours: attention is limited to the segment a
position belongs to, so that packed rows are exact, and dropout takes an explicit key, so that
a step is a pure function of its arguments.

Shapes: B rows, L positions, D features.
"""

from __future__ import annotations

import jax
from flax import nnx

from flaxner.models.bert.config import BertConfig
from flaxner.models.layers.blocks import norm, table
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.dropout import dropout
from flaxner.models.layers.token_classifier import TokenClassifier
from flaxner.models.layers.transformer import Layer

Array = jax.Array


class Embeddings(nnx.Module):
    """Word + position + token-type embeddings, layer norm, dropout."""

    def __init__(self, config: BertConfig, compute: Compute, *, rngs: nnx.Rngs) -> None:
        width, scale = config.hidden_size, config.initializer_range
        self.word_embeddings = table(config.vocab_size, width, scale, rngs)
        self.position_embeddings = table(config.max_position_embeddings, width, scale, rngs)
        self.token_type_embeddings = table(config.type_vocab_size, width, scale, rngs)
        self.norm = norm(width, config.layer_norm_eps, compute, rngs)
        self.rate = config.hidden_dropout_prob

    def __call__(
        self,
        input_ids_BL: Array,
        position_ids_BL: Array,
        token_type_ids_BL: Array,
        key: Array | None,
    ) -> Array:
        """Embedded tokens x_BLD."""
        x_BLD = (
            self.word_embeddings(input_ids_BL)
            + self.position_embeddings(position_ids_BL)
            + self.token_type_embeddings(token_type_ids_BL)
        )
        return dropout(self.norm(x_BLD), self.rate, key)


class BertForTokenClassification(TokenClassifier):
    """BERT with a linear classifier on every position.

    Args of the constructor:
      config: sizes, activation, dropout rates, number of labels.
      rngs: `nnx.Rngs(seed)` for the initial weights (normal, `initializer_range`).
      compute: dtype and layout of the computation.
    """

    def __init__(
        self, config: BertConfig, *, rngs: nnx.Rngs, compute: Compute | None = None
    ) -> None:
        compute = compute or Compute()
        self.embeddings = Embeddings(config, compute, rngs=rngs)
        self.layers = nnx.List(
            [Layer(config, compute, rngs=rngs) for _ in range(config.num_hidden_layers)]
        )
        super().__init__(
            config,
            compute,
            width=config.hidden_size,
            head_rate=config.head_dropout_prob,
            scale=config.initializer_range,
            rngs=rngs,
        )

    def embed(
        self,
        input_ids_BL: Array,
        position_ids_BL: Array,
        token_type_ids_BL: Array,
        key: Array | None,
    ) -> Array:
        """Embedded tokens x_BLD."""
        return self.embeddings(input_ids_BL, position_ids_BL, token_type_ids_BL, key)
