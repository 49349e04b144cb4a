"""Sizes and settings of BERT, as `transformers.BertConfig` has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from flaxner.models.layers.config import EncoderConfig, check_activation, check_width


@dataclasses.dataclass(frozen=True)
class BertConfig(EncoderConfig):
    """The fields of `transformers.BertConfig` that shape the computation, with its defaults."""

    UNSUPPORTED: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "position_embedding_type": (None, "absolute"),
        "embedding_size": (None,),
    }

    model_type: str = "bert"
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    classifier_dropout: float | None = None

    def __post_init__(self) -> None:
        check_width(
            self.hidden_size, self.num_attention_heads, ("hidden_size", "num_attention_heads")
        )
        check_activation(self.hidden_act)

    @property
    def head_dropout_prob(self) -> float:
        """Dropout before the classification head: classifier_dropout, else hidden dropout."""
        if self.classifier_dropout is None:
            return self.hidden_dropout_prob
        return self.classifier_dropout
