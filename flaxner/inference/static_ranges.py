"""Calibration for static int8: measures the input ranges of a model's matrix products on texts."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from flaxner.inference import kept_graph, onnx_engine
from flaxner.inference.predictor import Predictor
from flaxner.inference.rows import PackedBatch, fitted_batches
from flaxner.inference.streaming import counted
from flaxner.inference.words import WordTagger
from flaxner.models.graph_weights import STATIC

if TYPE_CHECKING:
    from flaxner.inference.classifier import Classifier
    from flaxner.models.layers.graph_products import Range

SENTENCES = 512  # more hardly widen the ranges
T = TypeVar("T")


def seen_ranges(classifier: Classifier, sentences: Sequence[Sequence[str]]) -> dict[str, Range]:
    """Measure the range of every input feature of the model's matrix products.

    Args:
      classifier: the model.
      sentences: lists of words, similar to those it will be used on. They are read one at a time,
        since padding would count as well.

    Raises:
      ValueError: no sentences, or a model for which no graph can be created.
    """
    if not sentences:
        raise ValueError("int8-static needs sentences for calibration, but there are none")
    onnx_engine.require()
    with tempfile.TemporaryDirectory() as place:
        facts = kept_graph.write_graph(Path(place), classifier, STATIC)
        watch = _Watch(Path(place) / kept_graph.PROGRAM)
        predictor = Predictor(watch, facts.num_labels, facts.limit)
        words = WordTagger(classifier.tokenizer, classifier.facts, predictor)
        shown = counted(sentences, "sentences calibrated", total=len(sentences))
        for _ in words.tags(shown, decoder="argmax"):
            pass
    return watch.ranges()


def evenly_spaced(sentences: Sequence[T]) -> list[T]:
    """Return at most SENTENCES of them."""
    return list(sentences[:: -(-len(sentences) // SENTENCES) or 1])


class _Watch:
    """An engine that runs each segment alone, and records the input ranges of its products.

    Args:
      program: a graph that outputs the ranges.
    """

    devices = (onnx_engine.HostDevice(),)
    traces: list[tuple[int, int]] = []  # noqa: RUF012  # nothing is ever compiled
    capacity = 1

    def __init__(self, program: Path) -> None:
        self._session = onnx_engine.open_session(program)
        _, *self._names = [output.name for output in self._session.get_outputs()]
        self._most: list[np.ndarray] = []

    def batches(
        self, input_ids: np.ndarray, starts: np.ndarray, limit: int
    ) -> Iterator[PackedBatch]:
        """Put each segment into a row of its own."""
        for begin, end in itertools.pairwise(starts.tolist()):
            (batch,) = fitted_batches(input_ids[begin:end], np.asarray([0, end - begin]), tokens=1)
            yield batch._replace(places=batch.places + begin)

    def start(self, batches: Iterator[PackedBatch]) -> list[tuple[PackedBatch, Callable[[], Any]]]:
        """Run the batches."""
        return [(batch, self._run(batch).copy) for batch in batches]

    def warmup(self, limit: int) -> None:
        """Nothing to do."""

    def _run(self, batch: PackedBatch) -> np.ndarray:
        feed = dict(zip(onnx_engine.INPUTS, batch.inputs, strict=True))
        logits_BLC, *seen = self._session.run(None, feed)
        wider = [np.minimum, np.maximum]  # lows and highs alternate
        before = self._most or seen
        self._most = [wider[i % 2](*pair) for i, pair in enumerate(zip(before, seen, strict=True))]
        return logits_BLC

    def ranges(self) -> dict[str, Range]:
        """Return the recorded ranges, by the names of the products."""
        from flaxner.models.layers.graph_products import Range

        names = [name.rpartition("/")[0] for name in self._names[::2]]
        return {
            name: Range(low, high)
            for name, low, high in zip(names, self._most[::2], self._most[1::2], strict=True)
        }
