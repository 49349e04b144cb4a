"""The components of a model family; each family's folder next to this one defines an `Encoder`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flaxner.models.layers.config import EncoderConfig
from flaxner.models.layers.graph import Graph
from flaxner.models.layers.token_classifier import TokenClassifier
from flaxner.models.tensors import WeightNames


class Encoder(NamedTuple):
    """The components of an architecture.

    Attributes:
      config: its settings class.
      network: its network class.
      names: how PyTorch names its weights.
      architecture: name of its PyTorch token classifier; the public class prefixes it with Flax.
      sizes: Hub name -> the sizes in its config.json; other fields have the defaults of `config`.
      tiny: sizes of the tiny model that starts from random weights, see `scratch`.
      tokenizer: kind of tokenizer trained for the tiny model, a key of `scratch.TOKENIZERS`.
      title: name used by its authors.
      citation: their paper, in BibTeX.
      graph: (`layers.graph.Graph`, settings) -> logits, builds the graph for ONNX Runtime; None if
        the family has none.
      rows_first: whether every array that dropout is applied to has rows as its first axis; if so,
        what is zeroed in a row does not depend on the number of rows.
    """

    config: type[EncoderConfig]
    network: type[TokenClassifier]
    names: WeightNames
    architecture: str
    sizes: Mapping[str, Mapping[str, Any]]
    tiny: Mapping[str, Any]
    tokenizer: str
    title: str
    citation: str
    graph: Callable[[Graph, Any], str] | None = None
    rows_first: bool = True
