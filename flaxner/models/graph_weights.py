"""Names of the forms that weights of a graph for ONNX Runtime are stored in."""

from __future__ import annotations

FLOAT32, INT8 = "float32", "int8"
STATIC = "int8-static"  # of exports only: a graph that was made unasked has seen no texts
