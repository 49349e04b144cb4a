"""What int8 weights cost: F1 of a quantised ONNX graph on the run's validation split."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flaxner.data.corpus import Sentence
from flaxner.data.labels import LabelScheme
from flaxner.data.segments import align
from flaxner.evaluation.metrics import score
from flaxner.evaluation.predictions import Predicted
from flaxner.publishing.verification import in_onnx_runtime
from flaxner.wording import number_of

SENTENCES = 5000  # measured on at most this many, spread over the corpus


@dataclasses.dataclass(frozen=True)
class Quantized:
    """The scores of a quantised graph, for the model card.

    Attributes:
      f1: F1 of the quantised graph; None if there was nothing to measure it on.
      float_f1: F1 of the float32 model on the same sentences.
      measured_on: description of the sentences.
    """

    f1: float | None = None
    float_f1: float | None = None
    measured_on: str = ""

    def __str__(self) -> str:
        if self.f1 is None or self.float_f1 is None:
            return "F1 of int8 not measured: the run has no validation scores"
        loss = self.float_f1 - self.f1
        return (
            f"F1 on {self.measured_on}: int8 {self.f1:.4f}, float32 {self.float_f1:.4f}, "
            f"{abs(loss):.4f} {'lost' if loss >= 0 else 'gained'}"
        )


def measure(
    files: tuple[Path, Path],
    sentences: Sequence[Predicted],
    tokenizer: Any,
    scheme: LabelScheme,
    max_length: int,
    *,
    scored: bool,
) -> Quantized:
    """Score the quantised graph against the float32 one.

    Args:
      files: the float32 graph and the quantised one.
      sentences: annotated sentences of the validation split.
      tokenizer: the model's tokenizer.
      scheme: label table.
      max_length: window length in tokens, as in training.
      scored: whether the predictions in `sentences` are the float32 model's.
    """
    if not sentences:
        return Quantized()
    chosen = list(sentences[:: -(-len(sentences) // SENTENCES)])
    tags = [list(sentence.tags) for sentence in chosen]
    if not scored:
        tags = _tags(files[0], chosen, tokenizer, scheme, max_length)
    quantized = _tags(files[1], chosen, tokenizer, scheme, max_length)
    whole = None if len(chosen) == len(sentences) else len(sentences)
    about = f"validation ({number_of(len(chosen), 'sentences', whole)})"
    return Quantized(_f1(chosen, quantized), _f1(chosen, tags), about)


def _tags(
    file: Path,
    sentences: Sequence[Predicted],
    tokenizer: Any,
    scheme: LabelScheme,
    max_length: int,
) -> list[list[str]]:
    """Return the tags of every word, one window at a time: int8's scales depend on the batch."""
    segments = align([Sentence(s.words) for s in sentences], tokenizer, None, max_length)
    labels = np.zeros(segments.num_words, np.int64)
    answer = in_onnx_runtime(file)
    for begin, end in zip(segments.starts, segments.starts[1:], strict=False):
        ids = segments.input_ids[None, begin:end].astype(np.int64)
        batch = {
            "input_ids": ids,
            "attention_mask": np.ones_like(ids),
            "token_type_ids": np.zeros_like(ids),
        }
        words = segments.words[begin:end]
        labels[words[words >= 0]] = answer(batch)[0].argmax(-1)[words >= 0]
    cuts = np.cumsum([len(s.words) for s in sentences])[:-1]
    return [scheme.decode(part) for part in np.split(labels, cuts)]


def _f1(sentences: Sequence[Predicted], tags: list[list[str]]) -> float:
    gold = [list(sentence.gold) for sentence in sentences]
    words = sum(len(sentence.words) for sentence in sentences)
    return score(gold, tags, words_in_corpus=words).overall_f1
