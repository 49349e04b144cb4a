"""Choices of `benchmark.py pipeline`: our contenders and their options."""

from __future__ import annotations

STRATEGY = {"aggregation_strategy": "simple"}
CUT = {"truncation": True}  # for ours; torch's pipeline truncates by default
STATIC = "onnx-int8-static"
BARE = "ONNX Runtime"  # prefix of the names of bare forward passes
# Our contenders and the options of their pipelines. STATIC is an export, made along the way.
ENGINES: dict[str, dict[str, str]] = {
    "jax": {"engine": "jax"},
    "jax-bfloat16": {"engine": "jax", "dtype": "bfloat16"},
    "onnx": {"engine": "onnx"},
    "onnx-int8": {"engine": "onnx", "weights": "int8"},
    STATIC: {},
}
