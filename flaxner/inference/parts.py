"""Tokenised texts with a function for their answers: parts that can share a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from flaxner.inference.predictor import Predictor


class Part(NamedTuple):
    """Concatenated segments for the model, and a function that turns their logits into answers.

    Attributes:
      input_ids: token ids of all segments, int32 (T,).
      starts: start of each segment, and the end of the last.
      answer: logits (T, C) -> an answer for each text or sentence.
    """

    input_ids: np.ndarray
    starts: np.ndarray
    answer: Callable[[np.ndarray], list[Any]]


def submit(predictor: Predictor, part: Part) -> Callable[[], list[Any]]:
    """Hand a part to the devices; return a call that waits for its logits and answers."""
    pending = predictor.submit(part.input_ids, part.starts)
    return lambda: part.answer(pending.result())


def submit_together(
    predictor: Predictor, parts: Sequence[Part]
) -> Callable[[], list[Callable[[], list[Any]]]]:
    """Hand several parts to the devices as one, so that their segments share rows.

    Returns:
      A call that waits for the devices, and returns for each part a call that answers it.
    """
    sizes = [len(part.input_ids) for part in parts]
    before = np.cumsum([0, *sizes])
    starts = [part.starts[:-1] + at for part, at in zip(parts, before[:-1], strict=True)]
    input_ids = np.concatenate([part.input_ids for part in parts])
    pending = predictor.submit(input_ids, np.concatenate([*starts, before[-1:]]).astype(np.int64))

    def ready() -> list[Callable[[], list[Any]]]:
        logits_TC = pending.result()

        def answered(part: Part, first: int, size: int) -> Callable[[], list[Any]]:
            return lambda: part.answer(logits_TC[first : first + size])

        places = zip(parts, before[:-1].tolist(), sizes, strict=True)
        return [answered(part, first, size) for part, first, size in places]

    return ready
