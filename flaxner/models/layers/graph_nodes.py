"""Collects nodes and stored arrays of an ONNX graph and writes its two files.

Shapes: B rows, L positions, C classes.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from flaxner.models.tensors import write_tensors

INPUTS = ("input_ids", "segment_ids", "position_ids")  # (B, L) int32, as `Model.apply` takes them
OUTPUT = "logits"  # (B, L, C) float32
FUSED = "com.microsoft"  # domain of ONNX Runtime's own operators
OPSETS = {"": 20, FUSED: 1}
IR_VERSION = 10
INLINE = 1024  # bytes; arrays up to this size go in the graph file, for shape inference to see


class Nodes:
    """Nodes and stored arrays, added in the order of the computation.

    Attributes:
      tensors: the stored arrays, by name.
      also: name -> value of each output besides the logits, float32 (N,).
    """

    def __init__(self) -> None:
        self.tensors: dict[str, np.ndarray] = {}
        self.also: dict[str, str] = {}
        self._nodes: list[Any] = []

    def add(self, name: str, value: Any) -> str:
        """Store an array under a unique name, which is returned."""
        value = np.asarray(value)
        assert name not in self.tensors or np.array_equal(self.tensors[name], value), name
        self.tensors[name] = value
        return name

    def ints(self, *values: int) -> str:
        """Store a list of integers, such as axes or shapes."""
        return self.add("ints_" + "_".join(map(str, values)), np.asarray(values, np.int64))

    @staticmethod
    def int32(value: int) -> np.ndarray:
        """Return an integer in the dtype of the inputs."""
        return np.asarray(value, np.int32)

    def number(self, value: float) -> str:
        """Store a float32 number."""
        return self.add(f"number_{np.float32(value)!r}", np.float32(value))

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        return self.ops(kind, 1, *inputs, domain=domain, **attributes)[0]

    def ops(
        self, kind: str, outputs: int, *inputs: str, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs and return their names."""
        from onnx import helper

        names = [f"{kind}_{len(self._nodes)}_{number}" for number in range(outputs)]
        node = helper.make_node(kind, list(inputs), names, domain=domain, **attributes)
        self._nodes.append(node)
        return names

    def write(self, logits_BLC: str, labels: int, program: Path, weights: Path) -> None:
        """Write the graph, and its arrays as a safetensors file next to it.

        Args:
          logits_BLC: name of the result.
          labels: C.
          program: file for the graph.
          weights: file for the arrays, in the same folder.
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
        for name, given in {OUTPUT: logits_BLC, **self.also}.items():
            self._nodes.append(helper.make_node("Identity", [given], [name]))
        axes = ["rows", "length"]
        vectors = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None]) for n in self.also]
        graph = helper.make_graph(
            self._nodes,
            "flaxner",
            [helper.make_tensor_value_info(name, TensorProto.INT32, axes) for name in INPUTS],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [*axes, labels]), *vectors],
            constants,
        )
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        program.write_bytes(model.SerializeToString())


def _places(weights: Path) -> dict[str, tuple[int, int]]:
    """Return name -> first and end byte of each array in a safetensors file."""
    with weights.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
    begin = 8 + size
    return {
        name: (begin + row["data_offsets"][0], begin + row["data_offsets"][1])
        for name, row in header.items()
        if name != "__metadata__"
    }
