"""Sizes and settings of DeBERTa, as in the two config classes of `transformers`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from flaxner.models.deberta.distances import relative_rows
from flaxner.models.layers.config import EncoderConfig

C2P, P2C = "c2p", "p2c"  # content to position, position to content


@dataclasses.dataclass(frozen=True)
class DebertaConfig(EncoderConfig):
    """The fields of `transformers.DebertaConfig` (version 1) that shape the computation."""

    UNSUPPORTED: ClassVar[Mapping[str, tuple[Any, ...]]] = {"talking_head": (None, False)}

    model_type: str = "deberta"
    vocab_size: int = 50265
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    type_vocab_size: int = 0
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-7
    embedding_size: int = 0  # 0: hidden_size
    relative_attention: bool = False
    max_relative_positions: int = -1
    position_biased_input: bool = True
    pos_att_type: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not set(self.pos_att_type) <= {C2P, P2C}:
            raise ValueError(
                f"pos_att_type may only contain {C2P} and {P2C}: got {list(self.pos_att_type)}"
            )

    @classmethod
    def from_hf(cls, fields: Mapping[str, Any], num_labels: int | None = None) -> Self:
        """Read the content of a Hub `config.json`; see the base class."""
        kinds = fields.get("pos_att_type") or ()
        if isinstance(kinds, str):
            kinds = [kind.strip() for kind in kinds.lower().split("|")]
        plain = {**fields, "pos_att_type": tuple(kinds)}
        if plain.get("embedding_size") == plain.get("hidden_size", cls.hidden_size):
            plain.pop("embedding_size")
        if plain.get("embedding_size") is None:
            plain.pop("embedding_size", None)
        return super().from_hf(plain, num_labels)

    def to_hf(self) -> dict[str, Any]:
        """Return the fields of config.json."""
        fields = super().to_hf() | {"pos_att_type": list(self.pos_att_type)}
        return fields | {"embedding_size": self.embedding_size or self.hidden_size}

    @property
    def span(self) -> int:
        """Relative positions from -span to span - 1 are distinguished."""
        if self.max_relative_positions < 1:
            return self.max_position_embeddings
        return self.max_relative_positions

    @property
    def norms_relative(self) -> bool:
        """Whether the relative embeddings are layer-normalised."""
        return False

    def relative_rows(self, length: int) -> np.ndarray:
        """Return the row of the relative table for each distance in a row of this length."""
        return relative_rows(length, self.span)


@dataclasses.dataclass(frozen=True)
class DebertaV2Config(DebertaConfig):
    """The fields of `transformers.DebertaV2Config` (versions 2 and 3)."""

    UNSUPPORTED: ClassVar[Mapping[str, tuple[Any, ...]]] = {"conv_groups": (None, 1)}

    model_type: str = "deberta-v2"
    vocab_size: int = 128100
    hidden_size: int = 1536
    num_hidden_layers: int = 24
    num_attention_heads: int = 24
    intermediate_size: int = 6144
    position_buckets: int = -1
    share_att_key: bool = False
    norm_rel_ebd: str = "none"
    conv_kernel_size: int = 0
    conv_act: str = "tanh"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.conv_kernel_size and self.conv_kernel_size % 2 == 0:
            raise ValueError(f"conv_kernel_size must be odd: got {self.conv_kernel_size}")

    @classmethod
    def from_hf(cls, fields: Mapping[str, Any], num_labels: int | None = None) -> Self:
        """Read the content of a Hub `config.json`; see the base class."""
        config = super().from_hf(fields, num_labels)
        width = config.hidden_size // config.num_attention_heads
        if fields.get("attention_head_size") not in (None, width):
            raise ValueError(
                "attention_head_size must be hidden_size / num_attention_heads, "
                f"{width}: got {fields['attention_head_size']!r}"
            )
        return config

    @property
    def norms_relative(self) -> bool:
        """Whether the relative embeddings are layer-normalised."""
        return "layer_norm" in [part.strip() for part in self.norm_rel_ebd.lower().split("|")]

    @property
    def span(self) -> int:
        """Half the number of rows in the relative table: buckets if any, otherwise distances."""
        return self.position_buckets if self.position_buckets > 0 else super().span

    def relative_rows(self, length: int) -> np.ndarray:
        """Return the same; far distances share rows if there are buckets."""
        return relative_rows(length, self.span, self.position_buckets, super().span)
