"""Sizes and settings of RoBERTa, XLM-R and CamemBERT, as in `transformers`."""

from __future__ import annotations

import dataclasses

from flaxner.models.layers.post_norm import PostNormConfig


@dataclasses.dataclass(frozen=True)
class RobertaConfig(PostNormConfig):
    """The fields of `transformers.RobertaConfig` that shape the computation, with its defaults.

    Attributes:
      pad_token_id: the padding token, and its row in the position table; tokens of a text use
        only the rows after it.
    """

    model_type: str = "roberta"
    vocab_size: int = 50265
    pad_token_id: int | None = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        pad, rows = self.pad_token_id, min(self.vocab_size, self.max_position_embeddings - 1)
        if pad is None or not 0 <= pad < rows:
            raise ValueError(
                f"pad_token_id must be an index into the vocabulary of {self.vocab_size} and leave "
                f"some of the {self.max_position_embeddings} positions for text: got {pad}"
            )

    @property
    def first_position(self) -> int:
        """Row of the position table for the first token of a segment."""
        assert self.pad_token_id is not None
        return self.pad_token_id + 1

    @property
    def positions(self) -> int:
        """Number of tokens in the longest possible segment, including special tokens."""
        return self.max_position_embeddings - self.first_position


@dataclasses.dataclass(frozen=True)
class XLMRobertaConfig(RobertaConfig):
    """The same fields of `transformers.XLMRobertaConfig`."""

    model_type: str = "xlm-roberta"
    vocab_size: int = 30522


@dataclasses.dataclass(frozen=True)
class CamembertConfig(RobertaConfig):
    """The same fields of `transformers.CamembertConfig`."""

    model_type: str = "camembert"
    vocab_size: int = 30522
