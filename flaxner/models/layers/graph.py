"""ONNX graphs in the making, in the operators that ONNX Runtime has fused kernels for.

A family's `graph.py` says with these parts what its `network.py` says in JAX: logits of packed
rows, dropout off. No exporter stands between: fused nodes (com.microsoft's Attention,
SkipLayerNormalization, BiasGelu) are written, not hoped for, the rows keep their segments, and
neither torch nor a trace is needed. Each graph is held to the JAX program by
`tests/test_onnx_engine.py`.

Shapes: B rows, L positions, H heads, K head width, D features, F features out.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flaxner.models.tensors import write_tensors

INPUTS = ("input_ids", "segment_ids", "position_ids")  # (B, L) int32, as `Model.apply` takes them
OUTPUT = "logits"  # (B, L, C) float32
FUSED = "com.microsoft"  # the domain of ONNX Runtime's own operators
OPSETS = {"": 20, FUSED: 1}
IR_VERSION = 10
INLINE = 1024  # bytes; smaller arrays stand in the graph's file, where shapes are inferred
BLOCKS = (128, 64, 32, 16)  # weights of an int8 kernel that share a scale: the first that divides


class Graph:
    """Nodes and weights, added in the order of the computation.

    Args:
      params: path -> float32 array, of the model.
      int8: kernels and token tables are stored in 8 bits, products are of 8-bit numbers. A scale
        serves a block of numbers of one position: no answer depends on what else is in a batch.
    """

    def __init__(self, params: Mapping[str, Any], *, int8: bool = False) -> None:
        self._params, self.int8 = params, int8
        self.tensors: dict[str, np.ndarray] = {}
        self._nodes: list[Any] = []

    def param(self, path: str) -> np.ndarray:
        """A parameter of the model, float32."""
        return np.asarray(self._params[path], np.float32)

    def has(self, path: str) -> bool:
        """Whether the model has this parameter."""
        return path in self._params

    def add(self, name: str, value: Any) -> str:
        """A stored array under a name of its own."""
        value = np.asarray(value)
        assert name not in self.tensors or np.array_equal(self.tensors[name], value), name
        self.tensors[name] = value
        return name

    def ints(self, *values: int) -> str:
        """A list of whole numbers: axes, shapes."""
        return self.add("ints_" + "_".join(map(str, values)), np.asarray(values, np.int64))

    @staticmethod
    def int32(value: int) -> np.ndarray:
        """A whole number of the inputs' kind."""
        return np.asarray(value, np.int32)

    def number(self, value: float) -> str:
        """A float32."""
        return self.add(f"number_{np.float32(value)!r}", np.float32(value))

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """A node of one output, whose name is returned."""
        return self.ops(kind, 1, *inputs, domain=domain, **attributes)[0]

    def ops(
        self, kind: str, outputs: int, *inputs: str, domain: str = "", **attributes: Any
    ) -> list[str]:
        """A node of several outputs."""
        from onnx import helper

        names = [f"{kind}_{len(self._nodes)}_{number}" for number in range(outputs)]
        node = helper.make_node(kind, list(inputs), names, domain=domain, **attributes)
        self._nodes.append(node)
        return names

    # Layers.

    def embedding(self, path: str, rows_BL: str, add_D: np.ndarray | None = None) -> str:
        """Rows of a table, x_BLD; `add_D` is added to every row beforehand."""
        table = self.param(f"{path}/embedding")
        table = table if add_D is None else table + add_D
        if not self.int8:
            return self.op("Gather", self.add(f"{path}/embedding", table), rows_BL)
        scale = np.maximum(np.abs(table).max(axis=1, keepdims=True) / 127, 1e-12)
        whole = self.add(f"{path}/embedding", np.rint(table / scale).astype(np.int8))
        scales = self.add(f"{path}/scale", scale.astype(np.float32))
        numbers = self.op("Cast", self.op("Gather", whole, rows_BL), to=1)  # FLOAT
        return self.op("Mul", numbers, self.op("Gather", scales, rows_BL))

    def linear(self, path: str, x: str, *, exact: bool = False) -> str:
        """The linear layer at a path; `exact` keeps it out of int8."""
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
        """x_...D times a kernel, and a bias."""
        y = (
            self._int8_product(name, x, kernel_DF)
            if self.int8 and not exact
            else self.op("MatMul", x, self.add(f"{name}/kernel", kernel_DF))
        )
        return y if bias_F is None else self.op("Add", y, self.add(f"{name}/bias", bias_F))

    def _int8_product(self, name: str, x: str, kernel_DF: np.ndarray) -> str:
        D, F = kernel_DF.shape
        size = next((n for n in BLOCKS if D % n == 0), BLOCKS[-1])
        blocks = -(-D // size)
        padded = np.zeros((F, blocks * size), np.float32)
        padded[:, :D] = kernel_DF.T
        parts = padded.reshape(F, blocks, size)
        scale = np.maximum(np.abs(parts).max(axis=-1, keepdims=True) / 127, 1e-12)
        # 128 stands for zero, as the operator has it where no zero points are given.
        whole = (np.rint(parts / scale) + 128).astype(np.uint8)
        return self.op(
            "MatMulNBits",
            x,
            self.add(f"{name}/kernel", whole),
            self.add(f"{name}/scale", scale.reshape(F, blocks).astype(np.float32)),
            domain=FUSED,
            K=D,
            N=F,
            bits=8,
            block_size=size,
            accuracy_level=4,  # the activations in 8 bits, too
        )

    def norm(self, path: str, x: str, epsilon: float) -> str:
        """The layer norm at a path."""
        names = [f"{path}/{part}" for part in ("scale", "bias") if self.has(f"{path}/{part}")]
        given = [self.add(name, self.param(name)) for name in names]
        return self.op("LayerNormalization", x, *given, axis=-1, epsilon=epsilon)

    def added_norm(self, path: str, x: str, y: str, epsilon: float) -> str:
        """The layer norm at a path, of a sum."""
        given = [self.add(name, self.param(name)) for name in (f"{path}/scale", f"{path}/bias")]
        return self.op("SkipLayerNormalization", x, y, *given, domain=FUSED, epsilon=epsilon)

    def activation(self, name: str, x: str) -> str:
        """An activation by its name in config.json, one of `activations.ACTIVATIONS`."""
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

    # Attention.

    def pairs(self, name: str) -> tuple[str, str]:
        """An input (B, L) as the positions' own (B, 1, L, 1), and as their keys' (B, 1, 1, L)."""
        queries = self.op("Unsqueeze", name, self.ints(1, 3))
        return queries, self.op("Unsqueeze", name, self.ints(1, 2))

    def segment_bias(self, near_B1LL: str | None = None) -> str:
        """Attention bias_B1LL: 0 within a segment (and where near), the least float32 elsewhere."""
        same = self.op("Equal", *self.pairs("segment_ids"))
        if near_B1LL is not None:
            same = self.op("And", same, near_B1LL)
        least = float(np.finfo(np.float32).min)
        return self.op("Where", same, self.number(0), self.number(least))

    def attention(self, path: str, x_BLD: str, bias_B1LL: str, heads: int) -> str:
        """Mixed values x_BLD of the queries, keys and values at a path, before the last kernel."""
        of = [f"{path}/{part}" for part in ("query", "key", "value")]
        kernel = np.concatenate([self.param(f"{part}/kernel") for part in of], axis=1)
        bias = np.concatenate([self.param(f"{part}/bias") for part in of])
        if not self.int8:
            names = (self.add(f"{path}/qkv/kernel", kernel), self.add(f"{path}/qkv/bias", bias))
            given = (x_BLD, *names, "", "", bias_B1LL)
            return self.op("Attention", *given, domain=FUSED, num_heads=heads)
        both = self.product(f"{path}/qkv", x_BLD, kernel, bias)
        q_BLD, k_BLD, v_BLD = self.ops("Split", 3, both, axis=-1, num_outputs=3)
        return self.mixed(q_BLD, k_BLD, v_BLD, bias_B1LL, heads)

    def mixed(
        self, q_BLD: str, k_BLD: str, v_BLD: str, bias: str, heads: int, scale: float | None = None
    ) -> str:
        """softmax(scaled queries times keys + bias) times the values, x_BLD.

        Args:
          q_BLD, k_BLD, v_BLD: of all heads, side by side.
          bias: (B, 1 or H, L, L).
          heads: H.
          scale: of the products; one over the root of a head's width if None.
        """
        own = {} if scale is None else {"scale": scale}
        given = (q_BLD, k_BLD, v_BLD, "", "", bias)
        return self.op("MultiHeadAttention", *given, domain=FUSED, num_heads=heads, **own)

    # The end.

    def write(self, logits_BLC: str, labels: int, program: Path, weights: Path) -> None:
        """Write the graph, and its arrays as a safetensors file beside it.

        Args:
          logits_BLC: the result.
          labels: C.
          program: file of the graph.
          weights: file of the arrays, in the same folder.
        """
        from onnx import TensorProto, helper, numpy_helper
        from onnx.external_data_helper import set_external_data

        large = {name: array for name, array in self.tensors.items() if array.nbytes > INLINE}
        write_tensors(weights, large)
        places = _places(weights)
        constants = []
        for name, array in self.tensors.items():
            if name not in large:
                constants.append(numpy_helper.from_array(array, name))
                continue
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            tensor = TensorProto(name=name, data_type=kind, dims=array.shape)
            tensor.raw_data = b""
            begin, end = places[name]
            set_external_data(tensor, weights.name, offset=begin, length=end - begin)
            tensor.ClearField("raw_data")
            constants.append(tensor)
        self._nodes.append(helper.make_node("Identity", [logits_BLC], [OUTPUT]))
        axes = ["rows", "length"]
        graph = helper.make_graph(
            self._nodes,
            "flaxner",
            [helper.make_tensor_value_info(name, TensorProto.INT32, axes) for name in INPUTS],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [*axes, labels])],
            constants,
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        program.write_bytes(model.SerializeToString())


ALIASES = {
    "gelu_python": "gelu",
    **dict.fromkeys(("gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_accurate"), "gelu_tanh"),
    "swish": "silu",
}
PLAIN = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}


def _places(weights: Path) -> dict[str, tuple[int, int]]:
    """name -> first byte and end byte of each array in a safetensors file."""
    with weights.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    begin = 8 + size
    return {
        name: (begin + row["data_offsets"][0], begin + row["data_offsets"][1])
        for name, row in header.items()
        if name != "__metadata__"
    }
