"""Sizes and settings of ELECTRA, as in `transformers.ElectraConfig`."""

from __future__ import annotations

import dataclasses

from flaxner.models.layers.post_norm import PostNormConfig


@dataclasses.dataclass(frozen=True)
class ElectraConfig(PostNormConfig):
    """The fields of `transformers.ElectraConfig` that shape the computation, with its defaults.

    Attributes:
      embedding_size: features of the embeddings; if it differs from `hidden_size`, a linear layer
        projects them to that width.
    """

    model_type: str = "electra"
    embedding_size: int = 128
    hidden_size: int = 256
    num_attention_heads: int = 4
    intermediate_size: int = 1024

    @property
    def projects(self) -> bool:
        """Whether the embeddings have another width than the blocks."""
        return self.embedding_size != self.hidden_size
