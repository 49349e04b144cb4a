"""BERT-like encoders as an ONNX graph, equivalent to `post_norm.py` and `transformer.py` in JAX."""

from __future__ import annotations

from typing import Any

from flaxner.models.layers.graph import Graph


def post_norm_graph(graph: Graph, config: Any, position_ids_BL: str = "position_ids") -> str:
    """Add the nodes for logits_BLC of BERT, RoBERTa, ELECTRA or DistilBERT and return their output.

    Args:
      graph: the graph to extend.
      config: settings of the model.
      position_ids_BL: rows of the position table.
    """
    x = _embedded(graph, config, position_ids_BL)
    bias = graph.segment_bias()
    for i in range(config.num_hidden_layers):
        x = _layer(graph, config, f"layers/{i}", x, bias)
    return graph.linear("classifier", x, exact=True)


def _embedded(graph: Graph, config: Any, position_ids_BL: str) -> str:
    words = graph.embedding("embeddings/word_embeddings", "input_ids")
    types = "embeddings/token_type_embeddings/embedding"
    first = graph.param(types)[0] if graph.has(types) else None  # texts use only type 0
    places = graph.embedding("embeddings/position_embeddings", position_ids_BL, first)
    x = graph.added_norm("embeddings/norm", words, places, config.layer_norm_eps)
    return graph.linear("projection", x) if graph.has("projection/kernel") else x


def _layer(graph: Graph, config: Any, path: str, x: str, bias: str) -> str:
    mixed = graph.attention(f"{path}/attention", x, bias, config.num_attention_heads)
    attended = graph.linear(f"{path}/attention/output", mixed)
    x = graph.added_norm(f"{path}/attention_norm", x, attended, config.layer_norm_eps)
    hidden = graph.activation(config.hidden_act, graph.linear(f"{path}/intermediate", x))
    output = graph.linear(f"{path}/output", hidden)
    return graph.added_norm(f"{path}/output_norm", x, output, config.layer_norm_eps)
