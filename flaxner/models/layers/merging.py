"""Merges the many small kernels that XLA would launch on a GPU.

XLA launches a kernel for every array of a tree, but merges those of one shape that read a common
non-scalar array. So all arrays are multiplied by a common vector filled with one number, hidden
from XLA by an optimization barrier: multiplying by ones is exact and costs one more vector in the
cache. If the same arrays are used in two places, each place needs its own vector: with a shared
one, XLA kept the product in memory from one place to the other and merged nothing.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array


def side_by_side(tree: Any) -> Any:
    """Return the same arrays, such that NVIDIA GPUs process them elementwise in few kernels."""
    return jax.lax.platform_dependent(tree, cuda=by_ones, default=lambda tree: tree)


def scaled(tree: Any, factor: Array) -> Any:
    """Multiply every array by a number, arranged as in `side_by_side`."""

    def plainly(tree: Any, factor: Array) -> Any:
        return jax.tree.map(lambda x: factor * x, tree)

    return jax.lax.platform_dependent(tree, factor, cuda=by_lines, default=plainly)


def by_ones(tree: Any) -> Any:
    """Multiply every array by a common vector of ones along its last axis; keep scalars."""
    return jax.tree.map(lambda x, y: y.astype(x.dtype), tree, by_lines(tree, 1.0))


def by_lines(tree: Any, factor: Any) -> Any:
    """Multiply every array by `factor`, as a common vector along the last axis unless a scalar."""
    widths = sorted({leaf.shape[-1] for leaf in jax.tree.leaves(tree) if leaf.ndim})
    lines = {width: jnp.full(width, factor, jnp.float32) for width in widths}
    lines = jax.lax.optimization_barrier(lines)
    return jax.tree.map(lambda x: (lines[x.shape[-1]] if x.ndim else factor) * x, tree)


@jax.custom_vjp
def gradient_in_memory(x: Array) -> Array:
    """Return x. On NVIDIA GPUs, its gradient is computed only once, although several products and
    sums read it: XLA would do so in front of some of them again."""
    return x


gradient_in_memory.defvjp(lambda x: (x, None), lambda kept, gradient: (in_memory(gradient),))


def in_memory(x: Array) -> Array:
    """Return x, as a whole and rounded to its dtype on NVIDIA GPUs, however it is used."""
    return jax.lax.platform_dependent(x, cuda=jax.lax.optimization_barrier, default=lambda x: x)
