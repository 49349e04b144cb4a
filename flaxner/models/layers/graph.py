"""Builds layers of ONNX graphs from operators that have fused kernels in ONNX Runtime.

From these parts, a family's `graph.py` builds the equivalent of its `network.py` in JAX: logits of
packed rows, without dropout. There is no exporter in between: fused nodes (com.microsoft's
Attention) are written directly instead of relying on an optimizer to find them, rows keep their
segments, and neither torch nor a trace is needed. `tests/test_onnx_graphs.py` compares each graph
with the JAX program.

Shapes: B rows, L positions, H heads, K head width, D features, F features out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flaxner.models.graph_weights import FLOAT32, INT8, STATIC
from flaxner.models.layers.graph_nodes import FUSED, Nodes
from flaxner.models.layers.graph_products import (
    Range,
    block_product,
    plain_product,
    static_product,
)

ALIASES = {
    "gelu_python": "gelu",
    **dict.fromkeys(("gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_accurate"), "gelu_tanh"),
    "swish": "silu",
}
# Minimum width for separate products of queries, keys and values. The Attention operator multiplies
# head by head: at 768, a single text takes 4 to 9% longer with it; at 384, it beats three products.
APART = 512
PLAIN = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}


class Graph(Nodes):
    """Builds a graph of a model's parameters, layer by layer.

    Args:
      params: path -> float32 array, of the model.
      weights: "float32", "int8" or "int8-static"; with the latter two, kernels and token tables are
        stored in 8 bits and products multiply 8-bit numbers (see `graph_products.py`).
      seen: for "int8-static", the ranges of the products' inputs by product name. If None, the
        graph is in float32 and measures these ranges on its input, as outputs NAME/low and
        NAME/high besides the logits.
    """

    def __init__(
        self,
        params: Mapping[str, Any],
        *,
        weights: str = FLOAT32,
        seen: Mapping[str, Range] | None = None,
    ) -> None:
        super().__init__()
        self._params, self.weights, self._seen = params, weights, seen

    @property
    def _watching(self) -> bool:
        return self.weights == STATIC and self._seen is None

    def param(self, path: str) -> np.ndarray:
        """Return a parameter of the model, float32."""
        return np.asarray(self._params[path], np.float32)

    def has(self, path: str) -> bool:
        """Return whether the model has this parameter."""
        return path in self._params

    def embedding(self, path: str, rows_BL: str, add_D: np.ndarray | None = None) -> str:
        """Look up rows of a table, x_BLD; `add_D` is added to every row beforehand."""
        table = self.param(f"{path}/embedding")
        table = table if add_D is None else table + add_D
        if self.weights == FLOAT32 or self._watching:
            return self.op("Gather", self.add(f"{path}/embedding", table), rows_BL)
        scale = np.maximum(np.abs(table).max(axis=1, keepdims=True) / 127, 1e-12)
        whole = self.add(f"{path}/embedding", np.rint(table / scale).astype(np.int8))
        scales = self.add(f"{path}/scale", scale.astype(np.float32))
        numbers = self.op("Cast", self.op("Gather", whole, rows_BL), to=1)  # FLOAT
        return self.op("Mul", numbers, self.op("Gather", scales, rows_BL))

    def linear(self, path: str, x: str, *, exact: bool = False) -> str:
        """Apply the linear layer at a path; `exact` keeps it in float32."""
        kernel = self.param(f"{path}/kernel")
        bias = self.param(f"{path}/bias") if self.has(f"{path}/bias") else None
        return self.product(path, x, kernel, bias, exact=exact)

    def product(
        self,
        name: str,
        x: str,
        kernel_DF: np.ndarray,
        bias_F: np.ndarray | None = None,
        *,
        exact: bool = False,
    ) -> str:
        """Multiply x_...D by a kernel and add a bias."""
        weights = FLOAT32 if exact else self.weights
        if weights == STATIC and self._seen is not None:
            seen = self._seen.get(name)
            if seen is None or seen.low.shape != kernel_DF.shape[:1]:
                raise ValueError(f"the ranges seen on texts belong to another model: {name}")
            return static_product(self, name, x, kernel_DF, bias_F, seen)
        if self._watching and not exact:
            self._watch(name, x)
        form = block_product if weights == INT8 else plain_product
        y = form(self, name, x, kernel_DF)
        return y if bias_F is None else self.op("Add", y, self.add(f"{name}/bias", bias_F))

    def _watch(self, name: str, x_BLD: str) -> None:
        """Add the range of an input to the outputs."""
        for end, kind in (("low", "ReduceMin"), ("high", "ReduceMax")):
            self.also[f"{name}/{end}"] = self.op(kind, x_BLD, self.ints(0, 1), keepdims=0)

    def norm(self, path: str, x: str, epsilon: float) -> str:
        """Apply the layer norm at a path."""
        names = [f"{path}/{part}" for part in ("scale", "bias") if self.has(f"{path}/{part}")]
        given = [self.add(name, self.param(name)) for name in names]
        return self.op("LayerNormalization", x, *given, axis=-1, epsilon=epsilon)

    def added_norm(self, path: str, x: str, y: str, epsilon: float) -> str:
        """Apply the layer norm at a path to a sum."""
        # Not SkipLayerNormalization: its loop is not vectorised and takes five times as long.
        return self.norm(path, self.op("Add", x, y), epsilon)

    def activation(self, name: str, x: str) -> str:
        """Apply an activation by its name in config.json, one of `activations.ACTIVATIONS`."""
        name = ALIASES.get(name, name)
        if name == "gelu":
            return self.op("Gelu", x)
        if name == "gelu_tanh":
            return self.op("FastGelu", x, domain=FUSED)
        if name in ("quick_gelu", "silu"):
            alpha = 1.702 if name == "quick_gelu" else 1.0
            return self.op("QuickGelu", x, domain=FUSED, alpha=alpha)
        if name == "relu2":
            positive = self.op("Relu", x)
            return self.op("Mul", positive, positive)
        if name == "relu6":
            return self.op("Clip", x, self.number(0), self.number(6))
        if name == "leaky_relu":
            return self.op("LeakyRelu", x, alpha=0.01)
        if name == "mish":
            return self.op("Mul", x, self.op("Tanh", self.op("Softplus", x)))
        return {"linear": lambda: x}.get(name, lambda: self.op(PLAIN[name], x))()

    def pairs(self, name: str) -> tuple[str, str]:
        """Reshape an input (B, L) for queries, (B, 1, L, 1), and for keys, (B, 1, 1, L)."""
        queries = self.op("Unsqueeze", name, self.ints(1, 3))
        return queries, self.op("Unsqueeze", name, self.ints(1, 2))

    def segment_bias(self, near_B1LL: str | None = None) -> str:
        """Compute bias_B1LL: 0 within a segment (and where near), the lowest float32 elsewhere."""
        same = self.op("Equal", *self.pairs("segment_ids"))
        if near_B1LL is not None:
            same = self.op("And", same, near_B1LL)
        least = float(np.finfo(np.float32).min)
        return self.op("Where", same, self.number(0), self.number(least))

    def attention(self, path: str, x_BLD: str, bias_B1LL: str, heads: int) -> str:
        """Compute attention x_BLD with the query, key and value layers at a path."""
        of = [f"{path}/{part}" for part in ("query", "key", "value")]
        bias = np.concatenate([self.param(f"{part}/bias") for part in of])
        kernels = [self.param(f"{part}/kernel") for part in of]
        if self.weights == FLOAT32 and len(kernels[0]) >= APART:
            q_BLD, k_BLD, v_BLD = map(self.product, of, [x_BLD] * 3, kernels)
            biases = self.add(f"{path}/qkv/bias", bias)
            return self.mixed(q_BLD, k_BLD, v_BLD, bias_B1LL, heads, biases=biases)
        kernel = np.concatenate(kernels, axis=1)
        if self.weights == FLOAT32:
            names = (self.add(f"{path}/qkv/kernel", kernel), self.add(f"{path}/qkv/bias", bias))
            given = (x_BLD, *names, "", "", bias_B1LL)
            return self.op("Attention", *given, domain=FUSED, num_heads=heads)
        both = self.product(f"{path}/qkv", x_BLD, kernel, bias)
        q_BLD, k_BLD, v_BLD = self.ops("Split", 3, both, axis=-1, num_outputs=3)
        return self.mixed(q_BLD, k_BLD, v_BLD, bias_B1LL, heads)

    def mixed(
        self,
        q_BLD: str,
        k_BLD: str,
        v_BLD: str,
        bias: str,
        heads: int,
        scale: float | None = None,
        biases: str = "",
    ) -> str:
        """Compute softmax(scaled queries times keys + bias) times the values, x_BLD.

        Args:
          q_BLD, k_BLD, v_BLD: of all heads, concatenated.
          bias: (B, 1 or H, L, L).
          heads: H.
          scale: factor of the products (default: 1 / sqrt(head width)).
          biases: added to queries, keys and values (3 D,).
        """
        own = {} if scale is None else {"scale": scale}
        given = (q_BLD, k_BLD, v_BLD, biases, "", bias)
        return self.op("MultiHeadAttention", *given, domain=FUSED, num_heads=heads, **own)
