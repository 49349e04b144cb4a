"""Sizes and settings of ModernBERT, as in `transformers.ModernBertConfig`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from flaxner.models.layers.config import EncoderConfig

FULL, SLIDING = "full_attention", "sliding_attention"
THETAS = {FULL: ("global_rope_theta", 160_000.0), SLIDING: ("local_rope_theta", 10_000.0)}


@dataclasses.dataclass(frozen=True)
class ModernBertConfig(EncoderConfig):
    """The fields of `transformers.ModernBertConfig` that shape the computation.

    config.json comes in two forms: `global_attn_every_n_layers` with two `*_rope_theta` and, since
    transformers 5, `layer_types` with `rope_parameters`. We read and write both.
    """

    UNSUPPORTED: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "rope_scaling": (None,),
        "head_dim": (None,),
    }

    DROPOUTS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "dropout": ("embedding_dropout", "mlp_dropout"),
        "attention_dropout": ("attention_dropout",),
        "head_dropout": ("classifier_dropout",),
    }

    model_type: str = "modernbert"
    vocab_size: int = 50368
    intermediate_size: int = 1152
    num_hidden_layers: int = 22
    max_position_embeddings: int = 8192
    hidden_activation: str = "gelu"
    initializer_range: float = 0.02
    initializer_cutoff_factor: float = 2.0
    norm_eps: float = 1e-5
    norm_bias: bool = False
    attention_bias: bool = False
    attention_dropout: float = 0.0
    mlp_bias: bool = False
    mlp_dropout: float = 0.0
    embedding_dropout: float = 0.0
    classifier_dropout: float = 0.0
    classifier_bias: bool = False
    classifier_activation: str = "gelu"
    local_attention: int = 128
    global_rope_theta: float = 160_000.0
    local_rope_theta: float = 10_000.0
    layer_types: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size // self.num_attention_heads % 2:
            raise ValueError(
                "hidden_size / num_attention_heads must be even for rotary positions: got "
                f"{self.hidden_size} / {self.num_attention_heads}"
            )
        for name, _ in THETAS.values():
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0: got {getattr(self, name)}")
        types = tuple(self.layer_types) or alternating(self.num_hidden_layers, 3)
        if len(types) != self.num_hidden_layers or not set(types) <= {FULL, SLIDING}:
            raise ValueError(
                f"layer_types must name {FULL} or {SLIDING} for each of the "
                f"{self.num_hidden_layers} layers: got {list(types)}"
            )
        object.__setattr__(self, "layer_types", types)

    @classmethod
    def from_hf(cls, fields: Mapping[str, Any], num_labels: int | None = None) -> Self:
        """Read either form of config.json; see the base class."""
        plain = dict(fields)
        layers = plain.get("num_hidden_layers", cls.num_hidden_layers)
        if not plain.get("layer_types"):
            every = plain.get("global_attn_every_n_layers", 3)
            if not isinstance(every, int) or every < 1:
                raise ValueError(f"global_attn_every_n_layers must be at least 1: got {every!r}")
            plain["layer_types"] = alternating(layers, every)
        for kind, (name, _) in THETAS.items():
            theta = _theta(plain.get("rope_parameters") or {}, kind)
            if theta is not None:
                plain[name] = theta
        return super().from_hf(plain, num_labels)

    def to_hf(self) -> dict[str, Any]:
        """Return the fields of config.json, in both of its forms."""
        fields = super().to_hf()
        fields["layer_types"] = list(self.layer_types)
        fields["rope_parameters"] = {
            kind: {"rope_type": "default", "rope_theta": fields[name]}
            for kind, (name, _) in THETAS.items()
        }
        layers = len(self.layer_types)
        for every in range(1, layers + 1):
            if alternating(layers, every) == self.layer_types:
                fields["global_attn_every_n_layers"] = every
                break
        return fields


def _theta(parameters: Any, kind: str) -> float | None:
    """Return the rope_theta of a kind of attention in rope_parameters; None if it is not given.

    Raises:
      ValueError: rope_parameters is malformed, or its rope_type is not supported.
    """
    rope = (parameters.get(kind) or {}) if isinstance(parameters, Mapping) else None
    if not isinstance(rope, Mapping):
        raise ValueError(f"rope_parameters must map attention types to objects: got {parameters!r}")
    if rope.get("rope_type", "default") != "default":
        raise ValueError(f"rope_type {rope['rope_type']!r} is not supported: it must be 'default'")
    theta = rope.get("rope_theta")
    number = isinstance(theta, int | float) and not isinstance(theta, bool)
    if theta is not None and not (number and 0 < theta < math.inf):
        raise ValueError(f"rope_theta must be a number above 0: got {theta!r}")
    return theta


def alternating(layers: int, every: int) -> tuple[str, ...]:
    """Return the attention types with full attention in the first of every `every` layers."""
    return tuple(SLIDING if layer % every else FULL for layer in range(layers))
