"""The PyTorch loop that flaxner is compared with, in both speed and quality.

A step does what a step of the Hugging Face Trainer does: collate, forward, backward, clip, AdamW,
schedule. The Trainer's own functions exempt parameters from decay and group by length.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from flaxner.benchmark.flat import attend_within, first_position, flattened
from flaxner.benchmark.machine import best_rate, matmul_size
from flaxner.config.train import TrainConfig
from flaxner.data.segments import IGNORED_LABEL, Segments
from flaxner.models.layers.compute import TF32
from flaxner.models.tensors import to_hf
from flaxner.training.preparation import Prepared


@dataclasses.dataclass(frozen=True)
class Peer:
    """Options of the loop.

    Attributes:
      grouped: batches of similar lengths, as with the Trainer's `group_by_length`.
      fused: torch's fused AdamW, the Trainer's default since torch 2.8.
      padded: every sentence padded to max_length, as run_flax_ner.py did.
      flat: no padding: all sentences in one row, with flash attention on a GPU.
      compiled: torch.compile with dynamic shapes.
    """

    grouped: bool = False
    fused: bool = False
    padded: bool = False
    flat: bool = False
    compiled: bool = False


PEERS = {
    "torch": Peer(),
    "torch-fused": Peer(fused=True),
    "torch-grouped": Peer(grouped=True),
    "torch-grouped-fused": Peer(grouped=True, fused=True),
    "torch-compiled": Peer(grouped=True, fused=True, compiled=True),
    "torch-padded": Peer(padded=True),
    "torch-flat": Peer(fused=True, flat=True),
    "torch-flat-compiled": Peer(fused=True, flat=True, compiled=True),
}


class Step(NamedTuple):
    """Results of a step; as with the Trainer, nothing waits for a GPU until they are read.

    Attributes:
      loss: mean over the labelled positions; a tensor (), which `float` waits for.
      grad_norm: gradient norm before clipping; likewise a tensor ().
      slots: token positions computed, padding included.
    """

    loss: Any
    grad_norm: Any
    slots: int


class TorchLoop:
    """Fine-tunes a torch model in place, with the settings of a run.

    Args of the constructor:
      model: a `...ForTokenClassification` of transformers.
      segments: the tokenised training corpus.
      config: provides batch size, optimizer, schedule, precision and seed.
      num_steps: steps of the whole run, over which the learning rate rises and falls.
      peer: options of the loop.
    """

    def __init__(
        self, model: Any, segments: Segments, config: TrainConfig, num_steps: int, peer: Peer
    ) -> None:
        import torch
        from transformers import get_linear_schedule_with_warmup

        self.segments, self.config, self.peer = segments, config, peer
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        allow_tf32(config.precision)
        self.model = model.to(self.device).train()
        if peer.flat:
            attend_within(self.model)
        self.optimizer = torch.optim.AdamW(
            decay_groups(self.model, config.weight_decay),
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            eps=config.adam_epsilon,
            fused=peer.fused or None,
        )
        warmup = round(num_steps * config.warmup_ratio)
        self.schedule = get_linear_schedule_with_warmup(self.optimizer, warmup, num_steps)
        self._forward = torch.compile(self.model, dynamic=True) if peer.compiled else self.model
        self._order = torch.Generator().manual_seed(config.seed)
        torch.manual_seed(config.seed)

    def epoch(self) -> list[np.ndarray]:
        """Return the segments of each batch of the next epoch."""
        import torch
        from transformers.trainer_pt_utils import get_length_grouped_indices

        size, lengths = self.config.batch_size, self.segments.lengths.tolist()
        if self.peer.grouped:
            order = get_length_grouped_indices(lengths, size, generator=self._order)
        else:
            order = torch.randperm(len(lengths), generator=self._order).tolist()
        return [np.asarray(order[i : i + size]) for i in range(0, len(order), size)]

    def step(self, members: np.ndarray) -> Step:
        """Take one optimizer step on these segments, accumulating gradients as configured."""
        import torch

        parts = np.array_split(members, min(self.config.accumulate, len(members)))
        arrays = [self._collated(part) for part in parts]
        counts = [int((batch["labels"] != IGNORED_LABEL).sum()) for batch in arrays]
        loss, half = torch.zeros((), device=self.device), self.config.precision == "bfloat16"
        for batch, count in zip(arrays, counts, strict=True):
            with torch.autocast(self.device, torch.bfloat16, enabled=half):
                part = self._forward(**self._placed(batch)).loss
            part = part * (count / sum(counts)) if len(parts) > 1 else part
            part.backward()
            loss = loss + part.detach()
        limit = self.config.max_grad_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad(set_to_none=True)
        return Step(loss, norm.detach(), sum(batch["input_ids"].size for batch in arrays))

    def wait(self) -> None:
        """Wait until all steps are done: a GPU runs asynchronously to the host."""
        import torch

        if self.device == "cuda":
            torch.cuda.synchronize()

    def predict(self, segments: Segments, batch_size: int = 64) -> np.ndarray:
        """Predict one label per word of a corpus, int32, in corpus order."""
        import torch

        labels = np.full(segments.num_words, -1, np.int32)
        order = np.argsort(segments.lengths, kind="stable")
        self.model.eval()
        with torch.no_grad():
            for begin in range(0, len(order), batch_size):
                members = order[begin : begin + batch_size]
                batch = self._placed(padded(segments, members))
                batch.pop("labels")
                best_BL = self.model(**batch).logits.argmax(-1).cpu().numpy()
                for row, member in enumerate(members):
                    low, high = segments.starts[member], segments.starts[member + 1]
                    words = segments.words[low:high]
                    owned = words >= 0
                    labels[words[owned]] = best_BL[row, : high - low][owned]
        self.model.train()
        return labels

    def _collated(self, members: np.ndarray) -> dict[str, Any]:
        if self.peer.flat:
            return flattened(self.segments, members, first_position(self.model))
        return padded(self.segments, members, self.config.max_length if self.peer.padded else None)

    def _placed(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Copy the arrays to the device; to a GPU without waiting for what it still computes."""
        import torch

        def place(array: np.ndarray) -> Any:
            tensor = torch.from_numpy(array)
            if self.device == "cuda":
                return tensor.pin_memory().to(self.device, non_blocking=True)
            return tensor

        return {k: place(v) if isinstance(v, np.ndarray) else v for k, v in batch.items()}


def padded(
    segments: Segments, members: Sequence[int] | np.ndarray, width: int | None = None
) -> dict[str, np.ndarray]:
    """Collate segments into one batch of the arrays that a torch model takes.

    Args:
      segments: a tokenised corpus.
      members: the segments to collate.
      width: tokens per row; if None, the length of the longest segment.
    """
    lengths = segments.lengths[members]
    ids_BL = np.zeros((len(members), width or int(lengths.max())), np.int64)
    labels_BL = np.full_like(ids_BL, IGNORED_LABEL)
    for row, member in enumerate(members):
        low, high = segments.starts[member], segments.starts[member + 1]
        ids_BL[row, : high - low] = segments.input_ids[low:high]
        labels_BL[row, : high - low] = segments.labels[low:high]
    mask_BL = np.arange(ids_BL.shape[1])[None] < lengths[:, None]
    return {"input_ids": ids_BL, "attention_mask": mask_BL.astype(np.int64), "labels": labels_BL}


def decay_groups(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups as the Trainer makes them: no decay on biases and norms."""
    from transformers import Trainer

    trainer: Any = None  # the method does not use it
    decayed = set(Trainer.get_decay_parameter_names(trainer, model))
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    return [
        {"params": [p for name, p in named if name in decayed], "weight_decay": weight_decay},
        {"params": [p for name, p in named if name not in decayed], "weight_decay": 0.0},
    ]


def torch_model(prepared: Prepared) -> Any:
    """Return a torch model with the same initial weights as ours."""
    import torch
    from transformers import AutoConfig, AutoModelForTokenClassification

    # torch's embedding tables need the padding token, ours do not: take it from the model's fields.
    tokens = {k: v for k, v in prepared.fields.items() if k.endswith("_token_id")}
    sizes = tokens | prepared.model.config.to_hf()
    sizes["num_labels"] = prepared.model.config.num_labels
    model: Any = AutoModelForTokenClassification.from_config(AutoConfig.for_model(**sizes))
    params = {path: np.asarray(value) for path, value in prepared.params.items()}
    weights = to_hf(params, prepared.model.rules)
    model.load_state_dict({name: torch.tensor(tensor) for name, tensor in weights.items()})
    return model


def allow_tf32(precision: str) -> None:
    """Let torch round float32 operands where we do, and nowhere else."""
    import torch

    torch.set_float32_matmul_precision("high" if precision == TF32 else "highest")


def torch_matmul_rate(precision: str) -> float:
    """FLOP/s of `torch.matmul` in this precision."""
    import torch

    allow_tf32(precision)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    size = matmul_size(device)
    x = torch.randn(size, size, device=device, dtype=dtype)

    def product() -> None:
        torch.matmul(x, x)
        if device == "cuda":
            torch.cuda.synchronize()

    return best_rate(product, size)
