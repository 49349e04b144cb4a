"""What `benchmark.py pipeline` may be told: our contenders, and models of other sizes."""

from __future__ import annotations

STRATEGY = {"aggregation_strategy": "simple"}
CUT = {"truncation": True}  # of ours, as torch's pipeline does without being told
STATIC = "onnx-int8-static"
# Our contenders: what the pipeline is told. STATIC is an export, made on the way.
ENGINES: dict[str, dict[str, str]] = {
    "jax": {"engine": "jax"},
    "jax-bfloat16": {"engine": "jax", "dtype": "bfloat16"},
    "onnx": {"engine": "onnx"},
    "onnx-int8": {"engine": "onnx", "weights": "int8"},
    STATIC: {},
}
# Of BERT (Devlin et al. 2019, table 1; the smallest of Turc et al. 2019).
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
