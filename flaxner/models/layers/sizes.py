"""Sizes of an encoder, under the names in config.json."""

from __future__ import annotations

from typing import Any


def sizes(width: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
    """Return the sizes of an encoder whose feed-forward layers are four times as wide as D.

    Args:
      width: features D.
      layers: number of blocks.
      heads: heads in a block.
      more: other fields.
    """
    return {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        **more,
    }
