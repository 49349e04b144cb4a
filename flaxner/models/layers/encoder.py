"""What a family of models consists of; each folder beside this one makes one of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flaxner.models.layers.config import EncoderConfig
from flaxner.models.layers.graph import Graph
from flaxner.models.layers.token_classifier import TokenClassifier
from flaxner.models.tensors import WeightNames


class Encoder(NamedTuple):
    """What makes an architecture.

    Attributes:
      config: the class of its settings.
      network: the class of its network.
      names: how PyTorch names its weights.
      architecture: PyTorch's class of its token classifier; the public class is Flax + that.
      sizes: Hub name -> what its config.json says of its size; else the defaults of `config`.
      tiny: sizes of the tiny model that starts from random weights, see `scratch`.
      tokenizer: kind of the tokenizer that the tiny model trains, a key of `scratch.TOKENIZERS`.
      title: what its authors call it.
      citation: their paper, in BibTeX.
      graph: (`layers.graph.Graph`, settings) -> logits, as ONNX Runtime computes them; None: the
        family has none.
      rows_first: whether all that dropout is applied to has rows as its first axis: then what it
        zeroes of a row does not depend on how many rows there are.
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
