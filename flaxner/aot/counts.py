"""What can be counted without a compiler: operations of matrix products."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def matmul_flops(jaxpr: Any) -> float:
    """Count the operations of a program's matrix products over all chips, loops included.

    Only the largest of several branches counts (`jax.lax.platform_dependent` makes one for each
    platform).
    """
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            inner = _product(left[axis] for axis in contracted)
            total += 2.0 * inner * _product(equation.outvars[0].aval.shape)
            continue
        inner_flops = [matmul_flops(inner) for inner in _inner_programs(equation.params)]
        if equation.primitive.name == "cond":
            total += max(inner_flops)
            continue
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        total += times * sum(inner_flops)
    return total


def _inner_programs(params: Mapping[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            inner = getattr(item, "jaxpr", item)
            if hasattr(inner, "eqns"):
                yield inner


def _product(sizes: Any) -> int:
    out = 1
    for size in sizes:
        out *= int(size)
    return out
