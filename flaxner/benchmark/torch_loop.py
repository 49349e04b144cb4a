"""The PyTorch loops that flaxner is compared with."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from flaxner.benchmark.contender import Slice
from flaxner.benchmark.machine import MATMUL_SIZE, best_rate
from flaxner.data.segments import IGNORED_LABEL, Segments
from flaxner.models.tensors import to_hf
from flaxner.training.preparation import Prepared


@dataclasses.dataclass(frozen=True)
class Peer:
    """A torch loop.

    Attributes:
      grouped: batches of similar lengths, as the Trainer's `group_by_length`.
      fused: torch's fused AdamW, which the Trainer takes by default since torch 2.8.
      padded: every sentence padded to max_length, as run_flax_ner.py did.
      compiled: torch.compile with dynamic shapes.
    """

    grouped: bool = False
    fused: bool = False
    padded: bool = False
    compiled: bool = False


PEERS = {
    "torch": Peer(),
    "torch-fused": Peer(fused=True),
    "torch-grouped": Peer(grouped=True),
    "torch-grouped-fused": Peer(grouped=True, fused=True),
    "torch-compiled": Peer(grouped=True, fused=True, compiled=True),
    "torch-padded": Peer(padded=True),
}


class Torch:
    """One of PEERS, from the weights that ours starts from."""

    def __init__(self, name: str, peer: Peer, prepared: Prepared, turns: int, steps: int) -> None:
        import torch
        from transformers import AutoConfig, AutoModelForTokenClassification

        self.name, self.peer, self.config = name, peer, prepared.config
        self.segments: Segments = prepared.segments["train"]
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.manual_seed(prepared.config.seed)
        sizes = prepared.model.config.to_hf() | {"num_labels": prepared.model.config.num_labels}
        model: Any = AutoModelForTokenClassification.from_config(AutoConfig.for_model(**sizes))
        weights = to_hf(
            {path: np.asarray(value) for path, value in prepared.params.items()},
            prepared.model.rules,
        )
        model.load_state_dict({k: torch.tensor(v) for k, v in weights.items()})
        self.model = model.to(self.device).train()
        self.optimizer = torch.optim.AdamW(
            _decay_groups(self.model, prepared.config.weight_decay),
            lr=prepared.config.learning_rate,
            fused=peer.fused or None,
        )
        if peer.compiled:
            self.model = torch.compile(self.model, dynamic=True)
        total = turns * steps
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: max(0.0, 1.0 - step / max(total, 1))
        )
        self.order = self._epoch()
        lengths = self.segments.lengths
        self.longest = max(self.order, key=lambda batch: int(lengths[batch].max()))
        begin = time.perf_counter()
        self.warm()
        once = time.perf_counter() - begin
        begin = time.perf_counter()
        self._step(self.order[0])
        self.warm()
        self.compile_seconds = max(once - (time.perf_counter() - begin), 0.0)

    def warm(self) -> None:
        """A step on the batch with the longest sentence."""
        self._step(self.longest)

    def _epoch(self) -> list[np.ndarray]:
        """The segments of every batch of an epoch."""
        size, count = self.config.batch_size, len(self.segments)
        order = np.random.default_rng(self.config.seed).permutation(count)
        if self.peer.grouped:  # transformers.trainer_pt_utils.get_length_grouped_indices
            mega = max(min(count // (size * 4), 50), 1) * size
            lengths = self.segments.lengths
            pools = [order[i : i + mega] for i in range(0, count, mega)]
            order = np.concatenate([pool[np.argsort(-lengths[pool])] for pool in pools])
        return [order[i : i + size] for i in range(0, count, size)]

    def run(self, turn: int, turns: int, steps: int) -> Slice:
        """Every stride-th batch of the epoch, so that each turn sees all lengths."""
        stride = max(len(self.order) // steps, 1)
        chosen = [self.order[(turn % stride + i * stride) % len(self.order)] for i in range(steps)]
        slots, loss = 0, 0.0
        begin = time.perf_counter()
        for members in chosen:
            value, size = self._step(members)
            slots += size
            loss = value
        seconds = time.perf_counter() - begin
        lengths = self.segments.lengths[np.concatenate(chosen)]
        sentences = len(np.unique(self.segments.sentences[np.concatenate(chosen)]))
        squares = int((lengths**2).sum())
        return Slice(seconds, int(lengths.sum()), slots, sentences, squares, loss)

    def _step(self, members: np.ndarray) -> tuple[float, int]:
        import torch

        batch = {key: torch.tensor(value) for key, value in self._collate(members).items()}
        batch = {key: value.to(self.device) for key, value in batch.items()}
        half = self.config.precision == "bfloat16"
        with torch.autocast(self.device, torch.bfloat16, enabled=half):
            loss = self.model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.detach()), batch["input_ids"].numel()

    def _collate(self, members: np.ndarray) -> dict[str, np.ndarray]:
        lengths = self.segments.lengths[members]
        width = self.config.max_length if self.peer.padded else int(lengths.max())
        ids = np.zeros((len(members), width), np.int64)
        labels = np.full_like(ids, IGNORED_LABEL)
        for row, index in enumerate(members):
            low, high = self.segments.starts[index], self.segments.starts[index + 1]
            ids[row, : high - low] = self.segments.input_ids[low:high]
            labels[row, : high - low] = self.segments.labels[low:high]
        mask = np.arange(width)[None] < lengths[:, None]
        return {"input_ids": ids, "attention_mask": mask.astype(np.int64), "labels": labels}


def _decay_groups(model: Any, weight_decay: float) -> Iterator[dict[str, Any]]:
    named = list(model.named_parameters())
    plain = [p for name, p in named if name.endswith("bias") or "LayerNorm" in name]
    rest = [p for name, p in named if not (name.endswith("bias") or "LayerNorm" in name)]
    yield {"params": rest, "weight_decay": weight_decay}
    yield {"params": plain, "weight_decay": 0.0}


def torch_matmul_rate(precision: str) -> float:
    """FLOP/s of `torch.matmul` in this dtype."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    x = torch.randn(MATMUL_SIZE, MATMUL_SIZE, device=device, dtype=getattr(torch, precision))

    def product() -> None:
        torch.matmul(x, x)
        if device == "cuda":
            torch.cuda.synchronize()

    return best_rate(product)
