"""Sizes and settings of BERT, as in `transformers.BertConfig`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from flaxner.models.layers.post_norm import PostNormConfig


@dataclasses.dataclass(frozen=True)
class BertConfig(PostNormConfig):
    """The fields of `transformers.BertConfig` that shape the computation, with its defaults."""

    UNSUPPORTED: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        **PostNormConfig.UNSUPPORTED,
        "embedding_size": (None,),
    }

    model_type: str = "bert"
