"""The PyTorch loop that quality is measured against, written as the field writes it.

AdamW with weight decay 0.01 on every parameter, linear decay without warm-up, clipping at 1.0,
the model's own dropout, labels on first tokens, length-grouped batches as in `transformers`'
Trainer, the model of the last epoch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from flaxner.data.segments import IGNORED_LABEL, Segments

MEGABATCH = 50  # batches that are sorted by length together, as in transformers


@dataclasses.dataclass(frozen=True)
class Reference:
    """Settings of the loop; equal to those of our run."""

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int


def padded(segments: Segments, members: np.ndarray, torch: Any) -> dict[str, Any]:
    """Segments as one padded batch of torch tensors."""
    longest = int(segments.lengths[members].max())
    ids = np.zeros((len(members), longest), np.int64)
    labels = np.full((len(members), longest), IGNORED_LABEL, np.int64)
    mask = np.zeros((len(members), longest), np.int64)
    for row, member in enumerate(members):
        low, high = segments.starts[member], segments.starts[member + 1]
        ids[row, : high - low] = segments.input_ids[low:high]
        labels[row, : high - low] = segments.labels[low:high]
        mask[row, : high - low] = 1
    arrays = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def length_grouped(
    lengths: np.ndarray, batch_size: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Batches of one epoch: random megabatches, each sorted by length, longest first."""
    order = generator.permutation(len(lengths))
    size = MEGABATCH * batch_size
    grouped = [
        part[np.argsort(-lengths[part], kind="stable")]
        for part in (order[begin : begin + size] for begin in range(0, len(order), size))
    ]
    flat = np.concatenate(grouped)
    for begin in range(0, len(flat), batch_size):
        yield flat[begin : begin + batch_size]


def train(model: Any, segments: Segments, settings: Reference) -> None:
    """Train `model` (a torch BertForTokenClassification) in place."""
    import torch
    from transformers import get_linear_schedule_with_warmup

    torch.manual_seed(settings.seed)
    generator = np.random.default_rng(settings.seed)
    steps = -(-len(segments) // settings.batch_size) * settings.epochs
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=0.01)
    plan = get_linear_schedule_with_warmup(optimizer, 0, steps)
    model.train()
    for _ in range(settings.epochs):
        for members in length_grouped(segments.lengths, settings.batch_size, generator):
            loss = model(**padded(segments, members, torch)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            plan.step()
            optimizer.zero_grad()


def predict(model: Any, segments: Segments, batch_size: int = 64) -> np.ndarray:
    """One label for every word of a corpus, in corpus order."""
    import torch

    labels = np.full(segments.num_words, -1, np.int32)
    model.eval()
    order = np.argsort(segments.lengths, kind="stable")
    with torch.no_grad():
        for begin in range(0, len(order), batch_size):
            members = order[begin : begin + batch_size]
            batch = padded(segments, members, torch)
            batch.pop("labels")
            found = model(**batch).logits.argmax(-1).numpy()
            for row, member in enumerate(members):
                low, high = segments.starts[member], segments.starts[member + 1]
                words = segments.words[low:high]
                owned = words >= 0
                labels[words[owned]] = found[row, : high - low][owned]
    return labels
