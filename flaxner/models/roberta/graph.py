"""RoBERTa as an ONNX graph: BERT's graph with positions counted as in `network.py`."""

from __future__ import annotations

from flaxner.models.layers.graph import Graph
from flaxner.models.layers.post_norm_graph import post_norm_graph
from flaxner.models.roberta.config import RobertaConfig


def roberta_graph(graph: Graph, config: RobertaConfig) -> str:
    """Add the nodes for logits_BLC and return their output."""
    return post_norm_graph(graph, config, _rows(graph, config.first_position - 1))


def _rows(graph: Graph, padding: int) -> str:
    """Compute rows of the position table; padding tokens get their own row and are not counted."""
    to_int, to_float = 6, 1
    number = graph.add("padding", graph.int32(padding))
    is_pad = graph.op("Equal", "input_ids", number)
    # For each position, count the padding tokens of its segment up to it, by multiplying with a
    # matrix of ones and zeros.
    same = graph.op("Equal", *graph.pairs("segment_ids"))
    later, earlier = graph.pairs("position_ids")
    before = graph.op("And", same, graph.op("LessOrEqual", earlier, later))
    before_BLL = graph.op("Squeeze", graph.op("Cast", before, to=to_float), graph.ints(1))
    pads_BL1 = graph.op("Unsqueeze", graph.op("Cast", is_pad, to=to_float), graph.ints(2))
    counts = graph.op("Squeeze", graph.op("MatMul", before_BLL, pads_BL1), graph.ints(2))
    counted = graph.op("Sub", "position_ids", graph.op("Cast", counts, to=to_int))
    first = graph.add("first_position", graph.int32(padding + 1))
    return graph.op("Where", is_pad, number, graph.op("Add", counted, first))
