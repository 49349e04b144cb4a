"""A product of an ONNX graph, in the forms that a model's kernels may be stored in.

int8: a scale serves a block of numbers of one position, found when the position is computed.
int8-static: scales of what is multiplied are constants, found beforehand on texts
(`inference/static_ranges.py`). Both give an answer that does not depend on what else is in its
batch, as ONNX Runtime's own dynamic quantisation does not, whose scales are those of all of it.

Neither can be had of `onnxruntime.quantization`: it watches arrays whose shapes the standard
operators tell, and has one range for each; the fused operators tell none, and a few features reach
ten times as far as the rest.

Shapes: D features in, F features out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flaxner.models.layers.graph_nodes import FUSED, Nodes

BLOCKS = (128, 64, 32, 16)  # weights of an int8 kernel that share a scale: the first that divides
TINY = 1e-12
# Bits of a static kernel's weights. With 8, processors without VNNI would overflow in silence, and
# the scores would depend on the machine.
STATIC_BITS = 7
LEVELS = 255  # of a static input
# How much of a feature's range is moved from the input, which has one scale, to the kernel, which
# has one for each output (SmoothQuant, Xiao et al. 2023): 0 nothing, 1 all of it. Of seven this one
# leaves the logits of WNUT-17's validation texts nearest to those of float32 (docs/inference.md).
MOVED = 0.75


class Range(NamedTuple):
    """The least and the largest value of every feature of a product's input (D,)."""

    low: np.ndarray
    high: np.ndarray


def plain_product(graph: Nodes, name: str, x: str, kernel_DF: np.ndarray) -> str:
    """x_...D times a kernel, in float32."""
    return graph.op("MatMul", x, graph.add(f"{name}/kernel", kernel_DF))


def block_product(graph: Nodes, name: str, x: str, kernel_DF: np.ndarray) -> str:
    """x_...D times a kernel, both in 8 bits; a scale for each block of a position's numbers."""
    D, F = kernel_DF.shape
    size = next((n for n in BLOCKS if D % n == 0), BLOCKS[-1])
    blocks = -(-D // size)
    padded = np.zeros((F, blocks * size), np.float32)
    padded[:, :D] = kernel_DF.T
    parts = padded.reshape(F, blocks, size)
    scale = np.maximum(np.abs(parts).max(axis=-1, keepdims=True) / 127, TINY)
    # 128 stands for zero, as the operator has it where no zero points are given.
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
        accuracy_level=4,  # the activations in 8 bits, too
    )


def static_product(
    graph: Nodes, name: str, x: str, kernel_DF: np.ndarray, bias_F: np.ndarray | None, seen: Range
) -> str:
    """x_...D times a kernel, both in 8 bits by scales that were found beforehand, and a bias."""
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
    """What each feature of the input is divided by, and its row of the kernel multiplied (D,)."""
    most_D = np.maximum(np.abs(seen.low), np.abs(seen.high))
    weight_D = np.abs(kernel_DF).max(axis=1)
    used = (most_D > TINY) & (weight_D > TINY)
    moved_D = np.ones(len(kernel_DF))
    moved_D[used] = most_D[used] ** MOVED / weight_D[used] ** (1 - MOVED)
    return moved_D


def _whole(kernel_DF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A kernel as whole numbers of STATIC_BITS, and the scale of each output."""
    most = 2 ** (STATIC_BITS - 1) - 1
    scale_F = np.maximum(np.abs(kernel_DF).max(axis=0) / most, TINY)
    return np.rint(kernel_DF / scale_F).astype(np.int8), scale_F.astype(np.float32)
