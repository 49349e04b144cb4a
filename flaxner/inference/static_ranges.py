"""What the products of a model take in, seen on texts: the ranges that static int8 is made of."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from flaxner.inference import kept_graph, onnx_engine
from flaxner.inference.predictor import Predictor
from flaxner.inference.rows import PackedBatch, fitted_batches
from flaxner.inference.words import WordTagger
from flaxner.models.graph_weights import STATIC

if TYPE_CHECKING:
    from flaxner.inference.classifier import Classifier
    from flaxner.models.layers.graph_products import Range

SENTENCES = 512  # more see hardly a wider range
T = TypeVar("T")


def seen_ranges(classifier: Classifier, sentences: Sequence[Sequence[str]]) -> dict[str, Range]:
    """The range of every feature that a product of the model takes in.

    Args:
      classifier: the model.
      sentences: lists of words, such as it will be asked for. They are read one at a time, for
        padding would be seen, too.

    Raises:
      ValueError: no sentences, or a model of which no graph can be made.
    """
    if not sentences:
        raise ValueError("int8-static needs sentences to find its scales on: there are none")
    onnx_engine.require()
    with tempfile.TemporaryDirectory() as place:
        facts = kept_graph.write_graph(Path(place), classifier, STATIC)
        watch = _Watch(Path(place) / kept_graph.PROGRAM)
        predictor = Predictor(watch, facts.num_labels, facts.limit)
        words = WordTagger(
            classifier.tokenizer, classifier.labels, predictor, classifier.scheme, classifier.window
        )
        for _ in words.tags(_shown(sentences), decoder="argmax"):
            pass
    return watch.ranges()


def spread(sentences: Sequence[T]) -> list[T]:
    """SENTENCES of them or fewer, from all over."""
    return list(sentences[:: -(-len(sentences) // SENTENCES) or 1])


def _shown(sentences: Sequence[Sequence[str]]) -> Iterable[Sequence[str]]:
    """The sentences, counted by a bar."""
    from flaxner.inference.streaming import counted

    return counted(sentences, "sentences calibrated", total=len(sentences))


class _Watch:
    """An engine that computes each segment alone, and keeps what its products took in.

    Args:
      program: a graph that gives the ranges out.
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
        """Each segment in a row of its own."""
        for begin, end in itertools.pairwise(starts.tolist()):
            (batch,) = fitted_batches(input_ids[begin:end], np.asarray([0, end - begin]), tokens=1)
            yield batch._replace(places=batch.places + begin)

    def start(self, batches: Iterator[PackedBatch]) -> list[tuple[PackedBatch, Callable[[], Any]]]:
        """Compute the batches."""
        return [(batch, self._run(batch).copy) for batch in batches]

    def warmup(self, limit: int) -> None:
        """Nothing to do."""

    def _run(self, batch: PackedBatch) -> np.ndarray:
        feed = dict(zip(onnx_engine.INPUTS, batch.inputs, strict=True))
        logits_BLC, *seen = self._session.run(None, feed)
        wider = [np.minimum, np.maximum]  # lows and highs in turn
        before = self._most or seen
        self._most = [wider[i % 2](*pair) for i, pair in enumerate(zip(before, seen, strict=True))]
        return logits_BLC

    def ranges(self) -> dict[str, Range]:
        """What was seen, by the names of the products."""
        from flaxner.models.layers.graph_products import Range

        names = [name.rpartition("/")[0] for name in self._names[::2]]
        return {
            name: Range(low, high)
            for name, low, high in zip(names, self._most[::2], self._most[1::2], strict=True)
        }
