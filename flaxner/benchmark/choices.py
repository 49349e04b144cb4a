"""Choices of `benchmark.py pipeline`: our contenders, and models of other sizes."""

from __future__ import annotations

from flaxner.models.layers.sizes import sizes

STRATEGY = {"aggregation_strategy": "simple"}
CUT = {"truncation": True}  # for ours; torch's pipeline truncates by default
STATIC = "onnx-int8-static"
# Our contenders and the options of their pipelines. STATIC is an export, made along the way.
ENGINES: dict[str, dict[str, str]] = {
    "jax": {"engine": "jax"},
    "jax-bfloat16": {"engine": "jax", "dtype": "bfloat16"},
    "onnx": {"engine": "onnx"},
    "onnx-int8": {"engine": "onnx", "weights": "int8"},
    STATIC: {},
}
# Sizes of BERT (Devlin et al. 2019, table 1; the smallest: Turc et al. 2019).
SIZES = {
    "bert-tiny": sizes(128, 2, 2),
    "bert-base": sizes(768, 12, 12),
    "bert-large": sizes(1024, 24, 16),
}
