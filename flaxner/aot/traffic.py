"""Memory traffic of an instruction: its operands and results, and where they are stored.

A layout with `S(1)` means on-chip memory, one without it HBM. A fusion reads only the slices that
it takes from an operand, and writes only the slice that it updates in place.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

from flaxner.aot.hlo import Computation, Instruction


@dataclasses.dataclass
class Cost:
    """Memory traffic and cycles of some instructions, per chip."""

    hbm_bytes: float = 0.0
    all_bytes: float = 0.0
    cycles: float = 0.0

    def add(self, other: Cost, times: float = 1.0) -> None:
        """Add another cost, `times` times."""
        self.hbm_bytes += times * other.hbm_bytes
        self.all_bytes += times * other.all_bytes
        self.cycles += times * other.cycles


def cost_of(
    each: Instruction, computation: Computation, computations: dict[str, Computation]
) -> Cost:
    """Compute the memory traffic and cycles of an instruction."""
    cycles = float(each.attribute(r'"estimated_cycles":"(\d+)"') or 0)
    if each.op in ("copy-start", "slice-start"):
        return Cost(_copied(each), _copied(each), cycles)
    cost = Cost(cycles=cycles)
    for part, hbm in _traffic(each, computation, computations):
        cost.all_bytes += part
        cost.hbm_bytes += part if hbm else 0
    return cost


def _traffic(
    each: Instruction, computation: Computation, computations: dict[str, Computation]
) -> Iterator[tuple[float, bool]]:
    """Yield (bytes, in HBM) for everything an instruction reads and writes."""
    if each.op == "custom-call" and "ConcatBitcast" in each.rest:
        return  # only names a buffer that its operands were copied into
    inner = computations.get(each.attribute(r"calls=%?([\w.\-]+)") or "", {})
    parameters = {int(i.rest.split(")")[0]): i.name for i in inner.values() if i.op == "parameter"}
    for number, operand in enumerate(each.operands):
        if operand not in computation:
            continue
        arrays = computation[operand].arrays
        read = sum(bytes_ for bytes_, _ in arrays)
        if number in parameters:
            read = min(read, _read_of(parameters[number], inner))
        elif each.op in ("dynamic-slice", "gather", "slice") and number == 0:
            read = sum(bytes_ for bytes_, _ in each.arrays)
        elif each.op in ("dynamic-update-slice", "scatter") and number == 0:
            read = 0.0
        yield read, all(hbm for _, hbm in arrays)
    written = _written(each, inner)
    for number, (bytes_, hbm) in enumerate(each.arrays):
        yield min(bytes_, written.get(number, bytes_)), hbm


def _read_of(parameter: str, inner: Computation) -> float:
    """Bytes that a fusion reads from a parameter: those of the slices, if it takes only slices."""
    total = 0.0
    for user in inner.values():
        if parameter not in user.operands:
            continue
        if user.op in ("dynamic-slice", "slice", "gather") and user.operands[0] == parameter:
            total += sum(bytes_ for bytes_, _ in user.arrays)
        elif user.op in ("dynamic-update-slice", "scatter") and user.operands[0] == parameter:
            continue  # written in place
        elif user.op in ("bitcast", "copy", "reshape", "convert"):
            total += _read_of(user.name, inner)
        else:
            return math.inf
    return total


def _written(each: Instruction, inner: Computation) -> dict[int, float]:
    """Return number of a result -> bytes written, for results updated in place."""
    root = next((i for i in inner.values() if i.root), each)
    results = [root]
    if root.op == "tuple":
        results = [inner[name] for name in root.operands if name in inner]
    out = {}
    for number, result in enumerate(results):
        while result.op == "bitcast" and result.operands and result.operands[0] in inner:
            result = inner[result.operands[0]]
        if result.op == "dynamic-update-slice":
            update = inner.get(result.operands[1])
            if update is not None:
                out[number] = sum(bytes_ for bytes_, _ in update.arrays)
    return out


def _copied(each: Instruction) -> float:
    """HBM traffic of an asynchronous copy: its destination's size for every end in HBM."""
    arrays = [a for a in each.arrays if a[0] > 4]
    if each.op == "slice-start":
        return arrays[-1][0] * sum(hbm for _, hbm in (arrays[0], arrays[-1])) if arrays else 0.0
    ends = each.arrays[:2]
    return max((bytes_ for bytes_, _ in ends), default=0.0) * sum(hbm for _, hbm in ends)
