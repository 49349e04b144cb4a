"""What can be counted without a compiler: operations of matrix products."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any


def matmul_flops(jaxpr: Any, platform: str | None = None) -> float:
    """Count the operations of a program's matrix products over all chips, loops included.

    Of the branches that `jax.lax.platform_dependent` makes, only that of the platform counts; of
    other branches, or without a platform, the largest.

    Args:
      jaxpr: the traced program.
      platform: as JAX lowers for it: tpu, cuda, cpu.
    """
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            inner = math.prod(left[axis] for axis in contracted)
            total += 2.0 * inner * math.prod(equation.outvars[0].aval.shape)
            continue
        inner_flops = [matmul_flops(inner, platform) for inner in _inner_programs(equation.params)]
        if equation.primitive.name == "cond":
            total += max(_of_platform(equation.params, platform, inner_flops))
            continue
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        total += times * sum(inner_flops)
    return total


def _of_platform(
    params: Mapping[str, Any], platform: str | None, branches: list[float]
) -> list[float]:
    """Return the branches that may run: the platform's own, else the default one."""
    platforms = params.get("branches_platforms")
    if platform is None or platforms is None:
        return branches
    pairs = list(zip(branches, platforms, strict=True))
    own = [flops for flops, names in pairs if names is not None and platform in names]
    return own or [flops for flops, names in pairs if names is None]


def _inner_programs(params: Mapping[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for item in value if isinstance(value, (tuple, list)) else (value,):
            inner = getattr(item, "jaxpr", item)
            if hasattr(inner, "eqns"):
                yield inner
