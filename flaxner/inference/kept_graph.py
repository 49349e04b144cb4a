"""The ONNX graph of a model: created once, and kept on disk under a digest of its inputs."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import flaxner
from flaxner import hub
from flaxner.files import kept, read_json, write_json
from flaxner.models.graph_weights import FLOAT32, INT8, STATIC
from flaxner.models.shards import INDEX

if TYPE_CHECKING:
    from flaxner.inference.classifier import Classifier
    from flaxner.models.layers.graph_products import Range

FORMAT = 3  # increase it when the graph of a family changes
WEIGHTS = (FLOAT32, INT8)
PROGRAM, ARRAYS, ABOUT = "forward.onnx", "weights.safetensors", "graph.json"
MOST_BYTES = 8 << 30  # for all kept graphs; the least recently used are deleted first
KIND = "onnx"  # the cache folder of the graphs


class GraphFacts(NamedTuple):
    """What is needed to open a model without its definition.

    Attributes:
      num_labels: width of the logits.
      limit: tokens that the model can read at once.
      vocab_size: number of rows in the token table.
    """

    num_labels: int
    limit: int
    vocab_size: int


def can_be_made() -> bool:
    """Whether the package that writes graphs is installed."""
    return importlib.util.find_spec("onnx") is not None


def require_maker() -> None:
    """Require the package that writes graphs.

    Raises:
      ValueError: says how to install it.
    """
    if not can_be_made():
        raise ValueError(
            "creating a graph for ONNX Runtime needs the package onnx, which is not installed: "
            "pip install 'flaxner[onnxruntime]'"
        )


def check(classifier: Classifier, weights: str) -> None:
    """Refuse models and formats for which no graph can be created.

    Raises:
      ValueError: unknown format, a family without a graph, or the package is missing.
    """
    require_maker()
    if weights not in (*WEIGHTS, STATIC):
        known = ", ".join((*WEIGHTS, STATIC))
        raise ValueError(f"weights for ONNX Runtime must be one of {known}: got {weights!r}")
    encoder = classifier.model.encoder
    if encoder.graph is None:
        raise ValueError(f"{encoder.title} has no graph for ONNX Runtime: use engine='jax'")


def write_graph(
    folder: Path, classifier: Classifier, weights: str, seen: Mapping[str, Range] | None = None
) -> GraphFacts:
    """Write a classifier's forward pass: forward.onnx and weights.safetensors.

    Args:
      folder: the folder to write to.
      classifier: the model.
      weights: "float32", or "int8" or "int8-static", which also compute matrix products in 8 bits.
      seen: for "int8-static", the calibration ranges; None: a float32 graph that outputs them.

    Raises:
      ValueError: see `check`.
    """
    from flaxner.models.layers.graph import Graph

    check(classifier, weights)
    encoder, config = classifier.model.encoder, classifier.model.config
    assert encoder.graph is not None
    graph = Graph(classifier.params, weights=weights, seen=seen)
    logits = encoder.graph(graph, config)
    graph.write(logits, config.num_labels, folder / PROGRAM, folder / ARRAYS)
    return GraphFacts(config.num_labels, config.positions, config.vocab_size)


def model_files(folder: Path) -> list[Path]:
    """List the files of a model folder that determine its logits."""
    patterns = (*hub.WEIGHTS, *hub.OLD_WEIGHTS, f"*{INDEX}")
    return [folder / "config.json", *sorted(p for one in patterns for p in folder.glob(one))]


def key_of_folder(folder: Path, weights: str) -> str:
    """Return the key of a model folder's graph: a digest of its files and our version."""
    return kept.key_of((FORMAT, flaxner.__version__, weights), model_files(folder))


def find_graph(key: str) -> tuple[Path, GraphFacts] | None:
    """Find the kept graph for a key; a damaged one is deleted and counts as missing."""
    folder = kept.find(kept.cache_folder(KIND), key)
    return None if folder is None else (folder, GraphFacts(**read_json(folder / ABOUT)))


@contextlib.contextmanager
def new_graph(key: str, classifier: Classifier, weights: str) -> Iterator[tuple[Path, GraphFacts]]:
    """Create a graph and keep it; if that is impossible, use a folder deleted with the context.

    Raises:
      ValueError: see `write_graph`.
    """

    def fill(draft: Path) -> None:
        facts = write_graph(draft, classifier, weights)
        write_json(draft / ABOUT, facts._asdict())

    place, folder = kept.cache_folder(KIND), None
    if place is not None:
        try:
            folder = kept.keep(place, key, fill, MOST_BYTES)
        except OSError as error:  # a full disk, or a folder that belongs to another user
            from flaxner.terminal import shown  # imports Rich, which is not needed otherwise

            reason = error.strerror or str(error)
            say = f"note: the model's graph is not kept: cannot write {place} ({reason})"
            print(shown(say), file=sys.stderr)
    passing = None if folder is not None else Path(tempfile.mkdtemp(prefix="flaxner-"))
    try:
        if passing is not None:
            fill(passing)
        at = folder or passing
        assert at is not None
        yield at, GraphFacts(**read_json(at / ABOUT))
    finally:
        if passing is not None:
            shutil.rmtree(passing, ignore_errors=True)
