"""Check that PyTorch on a Hub folder, and ONNX Runtime on a graph, compute the same logits."""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import numpy as np

from flaxner.data.tokenizer import load_tokenizer
from flaxner.inference.onnx_runtime import onnxruntime
from flaxner.models import crf
from flaxner.models.network import Model

TOLERANCE = 1e-4  # of another program's float32 logits against ours, for any model size
SENTENCES = 64  # taken from a corpus to compare on
SIZES = (1, 3, 8)  # batch sizes, in turn: the other program must accept any
# Used if a run has scored no corpus.
TEXTS = (
    "The headquarters of Google is located in Mountain View, California.",
    "Jordan beat Israel 2-1 on Tuesday.",
    "He said: \"We'll meet Ms. O'Neill at 10:30 in São Paulo's old town\".",
    "No names here",
)

PaddedBatch = dict[str, np.ndarray]


def require(flag: str, packages: Sequence[str]) -> None:
    """Refuse a flag whose packages are not installed.

    Raises:
      ValueError: a package is missing; the message says what to install.
    """
    absent = [name for name in packages if find_spec(name) is None]
    if absent:
        raise ValueError(f"{flag} needs {', '.join(absent)}: pip install {' '.join(packages)}")


@dataclasses.dataclass(frozen=True)
class Probe:
    """Sentences in batches of several sizes and lengths, and our logits for them.

    Attributes:
      batches: output of the tokenizer, int64, each padded to its longest sentence.
      logits: our logits, float32, one array per batch.
    """

    batches: list[PaddedBatch]
    logits: list[np.ndarray]

    @classmethod
    def of(
        cls, model: Model, params: Mapping[str, Any], folder: Path, sentences: Sequence[Any]
    ) -> Probe:
        """Run our model.

        Args:
          model: our static definition.
          params: our parameters, float32.
          folder: folder with the tokenizer to use.
          sentences: texts, or lists of words.
        """
        batches = list(_batches(folder, sentences))
        rows, length = np.max([batch["input_ids"].shape for batch in batches], axis=0)
        apply = jax.jit(model.apply)
        positions = np.broadcast_to(np.arange(length, dtype=np.int32), (rows, length))

        def ours(batch: PaddedBatch) -> np.ndarray:
            B, L = batch["input_ids"].shape
            shape = ((0, rows - B), (0, length - L))
            ids, mask = (
                np.pad(batch[name], shape).astype(np.int32)
                for name in ("input_ids", "attention_mask")
            )
            return np.asarray(apply(params, ids, mask, positions))[:B, :L]

        return cls(batches, [ours(batch) for batch in batches])

    def difference(self, answer: Callable[[PaddedBatch], np.ndarray]) -> float:
        """Return the largest difference of another program's logits from ours, on real tokens."""
        largest = [
            np.abs(answer(batch) - ours)[batch["attention_mask"] == 1].max()
            for batch, ours in zip(self.batches, self.logits, strict=True)
        ]
        return float(np.max(largest))  # Python's own max may ignore NaN

    def compare(self, who: str, answer: Callable[[PaddedBatch], np.ndarray]) -> float:
        """Return the `difference`, which must be small.

        Raises:
          ValueError: it exceeds TOLERANCE, or is not a number.
        """
        difference = self.difference(answer)
        if not difference <= TOLERANCE:
            raise ValueError(
                f"{who}'s logits differ from ours by {difference:.2e}, more than "
                f"{TOLERANCE:.0e}: no folder was written"
            )
        return difference


def same_scores(folder: Path, params: Mapping[str, Any]) -> None:
    """Check that the CRF scores in a folder equal the run's, bit for bit.

    Raises:
      ValueError: they differ.
    """
    ours = crf.Scores.of(params)
    theirs = crf.read(folder, len(ours.starts))
    for name, mine, other in zip(ours._fields, ours, theirs, strict=True):
        if not np.array_equal(mine, other):
            raise ValueError(
                f"the {name} in {crf.FILE} differ from the run's: no folder was written"
            )


def _batches(folder: Path, sentences: Sequence[Any]) -> Iterator[PaddedBatch]:
    tokenizer = load_tokenizer(folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.sep_token  # any will do: padding is masked
    sizes, start = itertools.cycle(SIZES), 0
    while start < len(sentences):
        chosen = list(sentences[start : start + next(sizes)])
        start += len(chosen)
        encoded = tokenizer(
            chosen,
            is_split_into_words=not isinstance(chosen[0], str),
            padding=True,
            truncation=True,
            return_tensors="np",
        )
        yield {name: np.asarray(array, np.int64) for name, array in encoded.items()}


def torch_model(folder: str | Path, **options: Any) -> Any:
    """Load a Hub folder in PyTorch, for inference; only a terminal shows the progress bar."""
    from transformers import AutoModelForTokenClassification
    from transformers.utils.logging import disable_progress_bar

    if not sys.stderr.isatty():
        disable_progress_bar()
    return AutoModelForTokenClassification.from_pretrained(
        str(folder), trust_remote_code=False, **options
    )


def in_torch(folder: Path) -> Callable[[PaddedBatch], np.ndarray]:
    """Return a function that computes a Hub folder's logits in PyTorch, float32."""
    import torch

    model = torch_model(folder, dtype=torch.float32)

    def answer(batch: PaddedBatch) -> np.ndarray:
        with torch.inference_mode():
            inputs = {name: torch.from_numpy(array) for name, array in batch.items()}
            return model(**inputs).logits.numpy()

    return answer


def in_onnx_runtime(file: Path) -> Callable[[PaddedBatch], np.ndarray]:
    """Return a function that computes an ONNX graph's logits in ONNX Runtime."""
    session = onnxruntime().InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = {item.name for item in session.get_inputs()}

    def answer(batch: PaddedBatch) -> np.ndarray:
        inputs = {name: array for name, array in batch.items() if name in names}
        return np.asarray(session.run(["logits"], inputs)[0])

    return answer
