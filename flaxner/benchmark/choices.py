"""Choices of `benchmark.py pipeline`: our contenders, and models of other sizes."""

from __future__ import annotations

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
    name: {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 64,
        "intermediate_size": 4 * width,
    }
    for name, width, layers in (
        ("bert-tiny", 128, 2),
        ("bert-base", 768, 12),
        ("bert-large", 1024, 24),
    )
}
