"""Sizes and settings of DistilBERT, as in `transformers.DistilBertConfig`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from flaxner.models.layers.config import EncoderConfig


@dataclasses.dataclass(frozen=True)
class DistilBertConfig(EncoderConfig):
    """The fields of `transformers.DistilBertConfig` that shape the computation.

    Attributes:
      sinusoidal_pos_embds: initialise the position table with sines and cosines; a trained one is
        loaded like any other table.
    """

    ALIASES: ClassVar[Mapping[str, str]] = {
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
    }
    THEIRS: ClassVar[Mapping[str, str]] = {
        **ALIASES,
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
    }

    model_type: str = "distilbert"
    num_hidden_layers: int = 6
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    sinusoidal_pos_embds: bool = False
    initializer_range: float = 0.02

    @property
    def layer_norm_eps(self) -> float:
        """Number added to the variance in layer norms."""
        return 1e-12

    @property
    def type_vocab_size(self) -> int:
        """Rows of the table of token types: there is none."""
        return 0

    @property
    def head_dropout_prob(self) -> float:
        """Dropout rate before the head."""
        return self.hidden_dropout_prob
