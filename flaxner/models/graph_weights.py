"""Names of the formats in which an ONNX Runtime graph stores its weights."""

from __future__ import annotations

FLOAT32, INT8 = "float32", "int8"
STATIC = "int8-static"  # exports only: a graph built automatically has not been calibrated on texts
