"""Padding-free batches for torch: all sentences in a single row, as DataCollatorWithFlattening.

Attention is flash attention with the sentences' boundaries (`varlen`), as the flash-attn package
offers it, but by the kernels inside torch and with dropout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from flaxner.data.segments import Segments

NAME = "flaxner_flat"  # among transformers' attention implementations


def flattened(
    segments: Segments, members: Sequence[int] | np.ndarray, first_position: int
) -> dict[str, Any]:
    """Collate segments into one row, with the sentences' bounds and longest length, which
    transformers passes on to `_attend`.

    Args:
      segments: a tokenised corpus.
      members: the segments to collate.
      first_position: the position of a sentence's first token, as the model counts.
    """
    lengths = segments.lengths[members]
    spans = [slice(segments.starts[each], segments.starts[each + 1]) for each in members]
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    places = np.arange(bounds[-1]) - np.repeat(bounds[:-1], lengths) + first_position
    labels = np.concatenate([segments.labels[span] for span in spans]).astype(np.int64)
    ids = np.concatenate([segments.input_ids[span] for span in spans]).astype(np.int64)
    return {
        "input_ids": ids[None],
        "labels": labels[None],
        "position_ids": places[None].astype(np.int64),
        "cu_seq_lens_q": bounds,
        "max_length_q": int(lengths.max()),
    }


def attend_within(model: Any) -> None:
    """Make a torch model attend within the sentences of a flat row.

    Raises:
      ValueError: its attention cannot be replaced.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    kind = model.config.model_type
    if not model._supports_flash_attn or kind == "modernbert":
        raise ValueError(f"torch-flat cannot train {kind}: leave it out of --against")
    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, lambda *_, **__: None)
    model.config._attn_implementation = NAME


def first_position(model: Any) -> int:
    """Return the position that the model gives to a text's first token."""
    # RoBERTa and its kin count from behind the padding token's row.
    padding: int = getattr(model.base_model.embeddings, "padding_idx", -1)
    return padding + 1


def _attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float | None = None,
    dropout: float = 0.0,
    **bounds: Any,
) -> tuple[Any, None]:
    """Compute attention for one row of 1HLK queries, keys and values; return 1LHK."""
    import torch

    starts, longest = bounds["cu_seq_lens_q"], bounds["max_length_q"]
    if not query.is_cuda:
        return _plainly(query, key, value, starts, scaling, dropout), None
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    mixed = torch.ops.aten._flash_attention_forward(
        q, k, v, starts, starts, longest, longest, dropout, False, False, scale=scaling
    )
    return mixed[0][None], None


def _plainly(q: Any, k: Any, v: Any, starts: Any, scaling: float | None, dropout: float) -> Any:
    """Compute the same where torch has no such kernel, over all pairs of the row."""
    import torch

    lengths = torch.diff(starts)
    sentence = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    same = sentence[:, None] == sentence[None]
    attend = torch.nn.functional.scaled_dot_product_attention
    return attend(q, k, v, same[None, None], dropout, scale=scaling).transpose(1, 2)
