"""Matrix products of an ONNX graph, in each format that kernels can be stored in.

int8: each block of a position's numbers has its own scale, computed at run time.
int8-static: the scales of the inputs are constants, measured beforehand on texts
(`inference/static_ranges.py`). With both, a result does not depend on the rest of its batch, unlike
with ONNX Runtime's own dynamic quantisation, whose scales cover the whole batch.

`onnxruntime.quantization` offers neither: it observes arrays whose shapes are inferred from
standard operators, with one range per array; shapes are not inferred for the fused operators, and
a few features have a range ten times that of the others.

Shapes: D features in, F features out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flaxner.models.layers.graph_nodes import FUSED, Nodes

BLOCKS = (128, 64, 32, 16)  # block sizes of an int8 kernel's scales; the first divisor is used
TINY = 1e-12
# Bits of a static kernel's weights. With 8, processors without VNNI would overflow silently, and
# scores would depend on the machine.
STATIC_BITS = 7
LEVELS = 255  # of a static input
# How much of a feature's range is moved from the input, which has one scale, to the kernel, which
# has one per output (SmoothQuant, Xiao et al. 2023): 0 none, 1 all of it. Of seven values, this one
# keeps the logits of WNUT-17's validation texts closest to those of float32 (docs/inference.md).
MOVED = 0.75


class Range(NamedTuple):
    """Minimum and maximum of every feature of a product's input (D,)."""

    low: np.ndarray
    high: np.ndarray


def plain_product(graph: Nodes, name: str, x: str, kernel_DF: np.ndarray) -> str:
    """Multiply x_...D by a kernel in float32."""
    return graph.op("MatMul", x, graph.add(f"{name}/kernel", kernel_DF))


def block_product(graph: Nodes, name: str, x: str, kernel_DF: np.ndarray) -> str:
    """Multiply x_...D by a kernel, both in 8 bits with a scale per block of numbers."""
    D, F = kernel_DF.shape
    size = next((n for n in BLOCKS if D % n == 0), BLOCKS[-1])
    blocks = -(-D // size)
    padded = np.zeros((F, blocks * size), np.float32)
    padded[:, :D] = kernel_DF.T
    parts = padded.reshape(F, blocks, size)
    scale = np.maximum(np.abs(parts).max(axis=-1, keepdims=True) / 127, TINY)
    # 128 stands for zero, the operator's default without zero points.
    whole = (np.rint(parts / scale) + 128).astype(np.uint8)
    return graph.op(
        "MatMulNBits",
        x,
        graph.add(f"{name}/kernel", whole),
        graph.add(f"{name}/scale", scale.reshape(F, blocks).astype(np.float32)),
        domain=FUSED,
        K=D,
        N=F,
        bits=8,
        block_size=size,
        accuracy_level=4,  # activations in 8 bits too
    )


def static_product(
    graph: Nodes, name: str, x: str, kernel_DF: np.ndarray, bias_F: np.ndarray | None, seen: Range
) -> str:
    """Multiply x_...D by a kernel, both in 8 bits with precomputed scales, and add a bias."""
    moved_D = _moved(kernel_DF, seen)
    low, high = (seen.low / moved_D).min(initial=0.0), (seen.high / moved_D).max(initial=0.0)
    scale = max(float(high - low) / LEVELS, TINY)
    whole_DF, scale_F = _whole(kernel_DF * moved_D[:, None])
    factor = graph.add(f"{name}/moved", (1 / moved_D).astype(np.float32))
    of_x = graph.number(scale), graph.add(f"{name}/zero", np.uint8(np.rint(-low / scale)))
    return graph.op(
        "MatMulIntegerToFloat",
        graph.op("QuantizeLinear", graph.op("Mul", x, factor), *of_x),
        graph.add(f"{name}/kernel", whole_DF),
        of_x[0],
        graph.add(f"{name}/scale", scale_F),
        of_x[1],
        "",  # zero points of the kernel: none
        *([] if bias_F is None else [graph.add(f"{name}/bias", bias_F)]),
        domain=FUSED,
    )


def _moved(kernel_DF: np.ndarray, seen: Range) -> np.ndarray:
    """Return the factors that divide the input's features and multiply the kernel's rows (D,)."""
    most_D = np.maximum(np.abs(seen.low), np.abs(seen.high))
    weight_D = np.abs(kernel_DF).max(axis=1)
    used = (most_D > TINY) & (weight_D > TINY)
    moved_D = np.ones(len(kernel_DF))
    moved_D[used] = most_D[used] ** MOVED / weight_D[used] ** (1 - MOVED)
    return moved_D


def _whole(kernel_DF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantise a kernel to integers of STATIC_BITS, with a scale per output."""
    most = 2 ** (STATIC_BITS - 1) - 1
    scale_F = np.maximum(np.abs(kernel_DF).max(axis=0) / most, TINY)
    return np.rint(kernel_DF / scale_F).astype(np.int8), scale_F.astype(np.float32)
