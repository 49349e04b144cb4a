"""Code shared by BERT, RoBERTa, ELECTRA and DistilBERT: settings, embeddings, a stack of blocks.

Shapes: B rows, L positions, D features.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
from flax import nnx

from flaxner.models.layers.blocks import Initializer, norm, table
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.config import EncoderConfig
from flaxner.models.layers.dropout import dropout
from flaxner.models.layers.token_classifier import TokenClassifier
from flaxner.models.layers.transformer import Layer

Array = jax.Array


@dataclasses.dataclass(frozen=True)
class PostNormConfig(EncoderConfig):
    """The fields that shape the computation, with the names and defaults of `transformers`."""

    UNSUPPORTED: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "position_embedding_type": (None, "absolute"),
    }

    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    classifier_dropout: float | None = None

    @property
    def head_dropout_prob(self) -> float:
        """Dropout rate before the head: classifier_dropout, or the hidden dropout if unset."""
        if self.classifier_dropout is None:
            return self.hidden_dropout_prob
        return self.classifier_dropout


class Embeddings(nnx.Module):
    """Word + position + token-type embeddings, layer norm, dropout.

    Args:
      words, positions, types: rows of the tables; if `types` is 0, there is no such table.
      width: features D.
      rate: dropout rate.
      epsilon: added to the variance in the norm.
      scale: standard deviation of the normal distribution that tables are drawn from.
      compute: dtype and layout of the computation.
      rngs: `nnx.Rngs(seed)` for the initial weights.
      position_scale: initializer of the position table, if different.
    """

    def __init__(
        self,
        words: int,
        positions: int,
        types: int,
        width: int,
        *,
        rate: float,
        epsilon: float,
        scale: float,
        compute: Compute,
        rngs: nnx.Rngs,
        position_scale: Initializer | None = None,
    ) -> None:
        self.word_embeddings = table(words, width, scale, rngs)
        self.position_embeddings = table(positions, width, position_scale or scale, rngs)
        self.token_type_embeddings = table(types, width, scale, rngs) if types else None
        self.norm = norm(width, epsilon, compute, rngs)
        self.rate = rate

    def __call__(
        self,
        input_ids_BL: Array,
        position_ids_BL: Array,
        token_type_ids_BL: Array,
        key: Array | None,
    ) -> Array:
        """Embed tokens as x_BLD."""
        x_BLD = self.word_embeddings(input_ids_BL) + self.position_embeddings(position_ids_BL)
        if self.token_type_embeddings is not None:
            x_BLD = x_BLD + self.token_type_embeddings(token_type_ids_BL)
        return dropout(self.norm(x_BLD), self.rate, key)


class PostNormClassifier(TokenClassifier):
    """Embeddings, post-norm blocks and a linear classifier on every position.

    Args:
      config: sizes, activation, dropout rates, number of labels; a `PostNormConfig`, or one with
        attributes of the same names.
      rngs: `nnx.Rngs(seed)` for the initial weights (normal, `initializer_range`).
      compute: dtype and layout of the computation.
      width: features of the embeddings, if different from the blocks'.
      position_scale: see `Embeddings`.
    """

    def __init__(
        self,
        config: Any,
        *,
        rngs: nnx.Rngs,
        compute: Compute | None = None,
        width: int | None = None,
        position_scale: Initializer | None = None,
    ) -> None:
        compute = compute or Compute()
        self.embeddings = Embeddings(
            config.vocab_size,
            config.max_position_embeddings,
            config.type_vocab_size,
            width or config.hidden_size,
            rate=config.hidden_dropout_prob,
            epsilon=config.layer_norm_eps,
            scale=config.initializer_range,
            compute=compute,
            rngs=rngs,
            position_scale=position_scale,
        )
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
