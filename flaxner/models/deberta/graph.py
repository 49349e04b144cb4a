"""DeBERTa as an ONNX graph, equivalent to `network.py`, `attention.py` and `distances.py` in JAX.

A layer's projections of the relative table do not depend on the text, so the graph stores them.

Shapes: B rows, L positions, H heads, K head width, D features, R rows of the relative table,
E = 2L - 1 distances.
"""

from __future__ import annotations

import math

import numpy as np

from flaxner.models.deberta.config import C2P, P2C, DebertaConfig, DebertaV2Config
from flaxner.models.layers.graph import Graph


def deberta_graph(graph: Graph, config: DebertaConfig) -> str:
    """Add the nodes for logits_BLC, for any version, and return their output."""
    return _Deberta(graph, config).logits()


class _Deberta:
    """Builds the parts of the graph, which share the row length and the relative table."""

    def __init__(self, graph: Graph, config: DebertaConfig) -> None:
        self.graph, self.config = graph, config
        self.heads = config.num_attention_heads
        width = config.hidden_size // self.heads
        self.scale = 1 / math.sqrt(width * (1 + len(config.pos_att_type)))
        self.kinds = config.pos_att_type if config.relative_attention else ()
        self.second = isinstance(config, DebertaV2Config)
        shape = graph.op("Shape", "input_ids")
        self.length = graph.op("Gather", shape, graph.ints(1))  # (1,): L
        self.bias = graph.segment_bias()
        if self.kinds:
            self.distances = self._distances()
            self.relative_RD = self._relative_table()

    def logits(self) -> str:
        graph, config = self.graph, self.config
        embedded = x = self._embedded()
        for i in range(config.num_hidden_layers):
            path = f"layers/{i}"
            attended = graph.linear(f"{path}/attention/output", self._attention(path, x))
            x = graph.added_norm(f"{path}/attention_norm", x, attended, config.layer_norm_eps)
            hidden = graph.activation(config.hidden_act, graph.linear(f"{path}/intermediate", x))
            output = graph.linear(f"{path}/output", hidden)
            x = graph.added_norm(f"{path}/output_norm", x, output, config.layer_norm_eps)
            if graph.has(f"{path}/convolution/kernel"):
                x = self._convolution(f"{path}/convolution", embedded, x)
        return graph.linear("classifier", x, exact=True)

    def _embedded(self) -> str:
        graph, path = self.graph, "embeddings"
        types = f"{path}/token_type_embeddings/embedding"
        first = graph.param(types)[0] if graph.has(types) else None
        x = graph.embedding(f"{path}/word_embeddings", "input_ids", first)
        if graph.has(f"{path}/position_embeddings/embedding"):
            places = graph.embedding(f"{path}/position_embeddings", "position_ids")
            x = graph.op("Add", x, places)
        if graph.has(f"{path}/projection/kernel"):
            x = graph.linear(f"{path}/projection", x)
        return graph.norm(f"{path}/norm", x, self.config.layer_norm_eps)

    # Attention.

    def _distances(self) -> tuple[str, str]:
        """Compute the relative table's row for each distance in a row, in both directions (E,)."""
        graph, most = self.graph, self.config.positions
        rows = self.config.relative_rows(most)
        # The distances for L positions are in the middle of those for the longest row.
        begin = graph.op("Sub", graph.ints(most), self.length)
        end = graph.op("Sub", graph.op("Add", graph.ints(most), self.length), graph.ints(1))
        falling, rising = (
            graph.op("Slice", graph.add(name, table), begin, end, graph.ints(0))
            for name, table in (("rows_falling", rows), ("rows_rising", rows[::-1].copy()))
        )
        return falling, rising

    def _relative_table(self) -> np.ndarray:
        table = self.graph.param("relative/embedding")
        if not self.graph.has("relative_norm/scale"):
            return table
        centred = table - table.mean(axis=-1, keepdims=True)
        variance = np.square(centred).mean(axis=-1, keepdims=True)
        normed = centred / np.sqrt(variance + np.float32(self.config.layer_norm_eps))
        scale, bias = (self.graph.param(f"relative_norm/{name}") for name in ("scale", "bias"))
        return normed * scale + bias

    def _attention(self, path: str, x: str) -> str:
        graph, inner = self.graph, f"{path}/attention/projections"
        q, k, v = self._contents(inner, x)
        bias = self.bias
        if C2P in self.kinds:
            keys = self._relative(f"{inner}/relative_key", f"{inner}/key", self.distances[0])
            bias = graph.op("Add", bias, self._by_columns(self._met(q, keys)))
        if P2C in self.kinds:
            queries = self._relative(f"{inner}/relative_query", f"{inner}/query", self.distances[1])
            by_key = self._by_columns(self._met(k, queries))
            bias = graph.op("Add", bias, graph.op("Transpose", by_key, perm=[0, 1, 3, 2]))
        return graph.mixed(q, k, v, bias, self.heads, self.scale)

    def _contents(self, inner: str, x: str) -> list[str]:
        graph = self.graph
        if self.second:
            of = [f"{inner}/{part}" for part in ("query", "key", "value")]
            kernel = np.concatenate([graph.param(f"{part}/kernel") for part in of], axis=1)
            bias = np.concatenate([graph.param(f"{part}/bias") for part in of])
        else:  # version 1 groups them by head and has no bias for keys
            fused = graph.param(f"{inner}/qkv/kernel")
            D = fused.shape[0]
            by_head = fused.reshape(D, self.heads, 3, -1)
            kernel = np.ascontiguousarray(by_head.transpose(0, 2, 1, 3)).reshape(D, -1)
            of_query, of_value = (
                graph.param(f"{inner}/{name}_bias") for name in ("query", "value")
            )
            bias = np.concatenate([of_query, np.zeros_like(of_query), of_value])
        qkv = graph.product(f"{inner}/qkv", x, kernel, bias)
        return graph.ops("Split", 3, qkv, axis=-1, num_outputs=3)

    def _relative(self, own: str, shared: str, rows_E: str) -> str:
        """Compute scaled queries or keys of distances (H, K, E), by their own or a shared layer."""
        graph = self.graph
        layer = own if graph.has(f"{own}/kernel") else shared
        product = self.relative_RD @ graph.param(f"{layer}/kernel")
        if graph.has(f"{layer}/bias"):
            product = product + graph.param(f"{layer}/bias")
        by_head = (product * np.float32(self.scale)).reshape(len(product), self.heads, -1)
        table = graph.add(f"{own}/table", np.ascontiguousarray(by_head.transpose(1, 2, 0)))
        return graph.op("Gather", table, rows_E, axis=2)

    def _met(self, x_BLD: str, relative_HKE: str) -> str:
        """Multiply every position with every distance, (B, H, L, E)."""
        graph = self.graph
        width = self.config.hidden_size // self.heads
        split = graph.op("Reshape", x_BLD, graph.ints(0, 0, self.heads, width))
        x_BHLK = graph.op("Transpose", split, perm=[0, 2, 1, 3])
        return graph.op("MatMul", x_BHLK, relative_HKE)

    def _by_columns(self, scores_BHLE: str) -> str:
        """Convert scores by distance to (B, H, L, L), shifting as in `distances.by_columns`."""
        graph = self.graph
        padded = graph.op("Pad", scores_BHLE, graph.ints(0, 0, 0, 0, 0, 0, 0, 1))
        flat = graph.op("Reshape", padded, graph.ints(0, 0, -1))
        begin = graph.op("Sub", self.length, graph.ints(1))
        size = graph.op("Mul", self.length, self._count())
        last = graph.op("Add", begin, size)
        kept = graph.op("Slice", flat, begin, last, graph.ints(2))
        shape = graph.op("Concat", graph.ints(0, 0), self.length, self._count(), axis=0)
        lines = graph.op("Reshape", kept, shape)
        return graph.op("Slice", lines, graph.ints(0), self.length, graph.ints(3))

    def _count(self) -> str:
        """Compute E, (1,)."""
        doubled = self.graph.op("Add", self.length, self.length)
        return self.graph.op("Sub", doubled, self.graph.ints(1))

    # Version 2.

    def _convolution(self, path: str, embedded: str, x: str) -> str:
        graph, config = self.graph, self.config
        assert isinstance(config, DebertaV2Config)
        size, D, _ = graph.param(f"{path}/kernel").shape
        margin = size // 2
        wide = graph.op("Pad", embedded, graph.ints(0, margin, 0, 0, margin, 0))
        outside = graph.add("outside", graph.int32(-1))
        marks = graph.op("Pad", "segment_ids", graph.ints(0, margin, 0, margin), outside)
        views = []
        for start in range(size):
            begin = graph.ints(start)
            end = graph.op("Add", self.length, begin)
            mark, part = (graph.op("Slice", y, begin, end, graph.ints(1)) for y in (marks, wide))
            same = graph.op("Unsqueeze", graph.op("Equal", mark, "segment_ids"), graph.ints(2))
            views.append(graph.op("Where", same, part, graph.number(0)))
        kernel = graph.param(f"{path}/kernel").reshape(size * D, -1)
        beside = graph.op("Concat", *views, axis=-1)
        y = graph.product(path, beside, kernel, graph.param(f"{path}/bias"))
        active = graph.activation(config.conv_act, y)
        return graph.added_norm(f"{path}/norm", x, active, config.layer_norm_eps)
