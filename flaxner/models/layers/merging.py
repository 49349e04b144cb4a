"""One kernel where a GPU would be given many.

XLA starts a kernel for every array of a tree, but merges those of one shape that read the same
array, if that is no scalar. So they are all multiplied by the same line of a number, which a
barrier keeps XLA from knowing: exact for ones, and one line more in the cache. What is computed of
the same arrays in two places takes two such numbers: the product by one and the same was kept in
memory from the one place to the other, which merged nothing.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array


def side_by_side(tree: Any) -> Any:
    """The same arrays; what is computed of each alone, NVIDIA GPUs compute in few kernels."""
    return jax.lax.platform_dependent(tree, cuda=by_ones, default=lambda tree: tree)


def scaled(tree: Any, factor: Array) -> Any:
    """Every array times a number, and `side_by_side`."""

    def plainly(tree: Any, factor: Array) -> Any:
        return jax.tree.map(lambda x: factor * x, tree)

    return jax.lax.platform_dependent(tree, factor, cuda=by_lines, default=plainly)


def by_ones(tree: Any) -> Any:
    """Every array times the same ones along its last axis; scalars as they are."""
    return jax.tree.map(lambda x, y: y.astype(x.dtype), tree, by_lines(tree, 1.0))


def by_lines(tree: Any, factor: Any) -> Any:
    """Every array times the same line of a number along its last axis; scalars times that."""
    widths = sorted({leaf.shape[-1] for leaf in jax.tree.leaves(tree) if leaf.ndim})
    lines = {width: jnp.full(width, factor, jnp.float32) for width in widths}
    lines = jax.lax.optimization_barrier(lines)
    return jax.tree.map(lambda x: (lines[x.shape[-1]] if x.ndim else factor) * x, tree)
