"""Settings shared by all encoders: reads config.json and refuses unsupported variants."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from flaxner.models.layers.activations import ACTIVATIONS


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """Base class of an encoder's settings; a subclass adds the fields of `transformers`' class.

    Fields have the names and defaults of `transformers`, so a Hub config.json is read and written
    field by field; THEIRS lists the few names that differ.

    Attributes:
      model_type: the name in config.json; a key of `encoders.ENCODERS`.
      vocab_size: rows of the token table.
      hidden_size: features D of a hidden state.
      num_hidden_layers: number of blocks.
      num_attention_heads: heads H in a block.
      intermediate_size: features F between a block's feed-forward layers.
      max_position_embeddings: rows of the position table.
      num_labels: width of the classification head.
    """

    # Fields of a Hub config.json that change the computation in an unsupported way:
    # field -> the only values allowed.
    UNSUPPORTED: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    COMMON: ClassVar[dict[str, tuple[Any, ...]]] = {
        "is_decoder": (None, False),
        "add_cross_attention": (None, False),
        "pruned_heads": (None, {}),
        "quantization_config": (None,),
    }

    # Dropout setting of a run -> the fields that it sets here.
    DROPOUTS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "dropout": ("hidden_dropout_prob",),
        "attention_dropout": ("attention_probs_dropout_prob",),
        "head_dropout": ("classifier_dropout",),
    }

    # field -> its name in config.json, where different
    THEIRS: ClassVar[Mapping[str, str]] = {}

    # other name that `transformers` accepts -> name in config.json; the other name wins, as there
    ALIASES: ClassVar[Mapping[str, str]] = {}

    model_type: str = ""
    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    num_labels: int = 2

    def __post_init__(self) -> None:
        """Refuse a width that is not divisible by the heads, and unknown activations."""
        named = {
            field.name: self.THEIRS.get(field.name, field.name)
            for field in dataclasses.fields(self)
        }
        width, heads = self.hidden_size, self.num_attention_heads
        if width % heads:
            raise ValueError(
                f"{named['hidden_size']} must be a multiple of {named['num_attention_heads']}: "
                f"{width} is not a multiple of {heads}"
            )
        for ours, theirs in named.items():
            value = getattr(self, ours)
            if ours.endswith(("_act", "_activation")) and value not in ACTIVATIONS:
                raise ValueError(f"{theirs} must be one of {', '.join(ACTIVATIONS)}: got {value!r}")

    @classmethod
    def without_aliases(cls, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the content of a config.json with ALIASES replaced."""
        usual = {name: value for name, value in fields.items() if name not in cls.ALIASES}
        return usual | {
            name: fields[alias] for alias, name in cls.ALIASES.items() if alias in fields
        }

    @classmethod
    def from_hf(cls, fields: Mapping[str, Any], num_labels: int | None = None) -> Self:
        """Read the content of a Hub `config.json`.

        Args:
          fields: the parsed JSON object.
          num_labels: width of the classification head (default: from the file's id2label).

        Raises:
          ValueError: a field asks for an unsupported computation; names the field and its value.
        """
        fields = cls.without_aliases(fields)
        refused = [
            f"{name}={fields[name]!r}"
            for name, allowed in (cls.COMMON | dict(cls.UNSUPPORTED)).items()
            if name in fields and fields[name] not in allowed
        ]
        if refused:
            kind = fields.get("model_type", cls.model_type)
            raise ValueError(
                f"this variant of {kind} is not supported: config.json has {', '.join(refused)}"
            )
        names = {field.name for field in dataclasses.fields(cls)} - {"num_labels"}
        theirs = {name: cls.THEIRS.get(name, name) for name in names}
        known = {name: fields[key] for name, key in theirs.items() if key in fields}
        if num_labels is None:
            num_labels = len(fields.get("id2label") or {}) or int(fields.get("num_labels") or 2)
        return cls(**known, num_labels=num_labels)

    def to_hf(self) -> dict[str, Any]:
        """Return the fields of config.json, except for the labels."""
        fields = dataclasses.asdict(self)
        fields.pop("num_labels")
        return {self.THEIRS.get(name, name): value for name, value in fields.items()}

    def with_dropout(self, rates: Mapping[str, float | None]) -> Self:
        """Return these settings with other dropout rates.

        Args:
          rates: key of DROPOUTS -> rate; None leaves it unchanged.

        Raises:
          ValueError: this encoder does not have one of the rates.
        """
        known = {field.name for field in dataclasses.fields(self)}
        changes: dict[str, Any] = {}
        for name, rate in rates.items():
            if rate is None:
                continue
            fields = self.DROPOUTS[name]
            if not known.issuperset(fields):
                raise ValueError(
                    f"{self.model_type} has no {name} of its own, but uses the dropout of its "
                    f"hidden states: set dropout instead of {name}"
                )
            changes |= dict.fromkeys(fields, rate)
        return dataclasses.replace(self, **changes) if changes else self

    @property
    def positions(self) -> int:
        """Number of tokens in the longest possible segment, including special tokens."""
        return self.max_position_embeddings

    def check_length(self, max_length: int) -> None:
        """Refuse windows longer than the longest possible segment.

        Raises:
          ValueError: names both lengths.
        """
        if max_length > self.positions:
            raise ValueError(
                f"max_length must be at most the model's {self.positions} positions: {max_length}"
            )
