"""ModernBERT as an ONNX graph, equivalent to `network.py` in JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from flaxner.models.layers.graph import Graph
from flaxner.models.layers.graph_nodes import FUSED
from flaxner.models.modernbert.config import FULL, SLIDING, ModernBertConfig
from flaxner.models.modernbert.network import rotations

Context = dict[str, tuple[str, str, str]]  # kind of attention -> bias, cosines, sines


def modernbert_graph(graph: Graph, config: ModernBertConfig) -> str:
    """Add the nodes for logits_BLC and return their output."""
    epsilon = config.norm_eps
    x = graph.norm("embeddings_norm", graph.embedding("embeddings", "input_ids"), epsilon)
    context, places = _context(graph, config), graph.op("Cast", "position_ids", to=7)  # INT64
    for i, kind in enumerate(config.layer_types):
        x = _layer(graph, config, f"layers/{i}", x, context[kind], places)
    x = graph.linear("head_dense", graph.norm("final_norm", x, epsilon), exact=True)
    x = graph.norm("head_norm", graph.activation(config.classifier_activation, x), epsilon)
    return graph.linear("classifier", x, exact=True)


def _context(graph: Graph, config: ModernBertConfig) -> Context:
    later, earlier = graph.pairs("position_ids")
    distance = graph.op("Abs", graph.op("Sub", later, earlier))
    reach = graph.add("reach", graph.int32(config.local_attention // 2))
    near = graph.op("LessOrEqual", distance, reach)
    biases = {FULL: graph.segment_bias(), SLIDING: graph.segment_bias(near)}
    thetas = {FULL: config.global_rope_theta, SLIDING: config.local_rope_theta}
    width = config.hidden_size // config.num_attention_heads
    every = jnp.arange(config.positions)[None]

    def kind(name: str) -> tuple[str, str, str]:
        cosines, sines = rotate(every, width, thetas[name])
        tables = (f"{name}/cosines", cosines), (f"{name}/sines", sines)
        cos, sin = (graph.add(where, np.asarray(table)[0, 0]) for where, table in tables)
        return biases[name], cos, sin

    return {name: kind(name) for name in thetas}


def rotate(every: jax.Array, width: int, theta: float) -> tuple[jax.Array, jax.Array]:
    """Compute cosines and sines of all positions with the network's own compiled function."""
    return jax.jit(rotations, static_argnums=(1, 2))(every, width, theta)


def _layer(
    graph: Graph,
    config: ModernBertConfig,
    path: str,
    x: str,
    context: tuple[str, str, str],
    places: str,
) -> str:
    norm, heads = f"{path}/attention_norm", config.num_attention_heads
    normed = graph.norm(norm, x, config.norm_eps) if graph.has(f"{norm}/scale") else x
    bias, cosines, sines = context
    qkv = graph.linear(f"{path}/attention/qkv", normed)
    q, k, v = graph.ops("Split", 3, qkv, axis=-1, num_outputs=3)
    q, k = (
        graph.op("RotaryEmbedding", y, places, cosines, sines, domain=FUSED, num_heads=heads)
        for y in (q, k)
    )
    mixed = graph.mixed(q, k, v, bias, heads)
    x = graph.op("Add", x, graph.linear(f"{path}/attention/output", mixed))
    both = graph.linear(f"{path}/intermediate", graph.norm(f"{path}/mlp_norm", x, config.norm_eps))
    value, gate = graph.ops("Split", 2, both, axis=-1, num_outputs=2)
    hidden = graph.op("Mul", graph.activation(config.hidden_activation, value), gate)
    return graph.op("Add", x, graph.linear(f"{path}/output", hidden))
