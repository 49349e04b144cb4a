"""Bounds on a step's time: computation, memory, links between chips (Williams et al. 2009)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from flaxner.aot.chips import AnyTopology
from flaxner.aot.costs import Collective
from flaxner.aot.traffic import Cost


@dataclasses.dataclass(frozen=True)
class Roofline:
    """Lower bounds on the seconds of one step; the longest is the bound.

    Attributes:
      compute: matrix products at the peak rate.
      memory: HBM traffic at the peak rate.
      interconnect: collectives over all links of a chip at once.
      network: the part of them that crosses slices; 0 for one slice.
      compiler: the compiler's own estimate from its cycles, without links; None if the chip's
        clock is unknown.
    """

    compute: float
    memory: float
    interconnect: float
    network: float
    compiler: float | None

    @property
    def seconds(self) -> float:
        """The minimum time of a step, with everything overlapped."""
        return max(self.compute, self.memory, self.interconnect, self.network)

    @property
    def bound(self) -> str:
        """What determines the minimum time."""
        times = {
            "compute": self.compute,
            "memory": self.memory,
            "interconnect": self.interconnect,
            "network between slices": self.network,
        }
        return max(times, key=lambda name: times[name])

    @property
    def estimate(self) -> float | None:
        """The compiler's estimate, with the links added; never below the bound."""
        if self.compiler is None:
            return None
        return max(self.seconds, self.compiler + self.interconnect + self.network)


def roofline(
    topology: AnyTopology,
    flops: float,
    cost: Cost,
    collectives: Sequence[Collective],
    precision: str = "bfloat16",
) -> Roofline:
    """Compute the bounds of a program on a chip of a topology, with products in a precision."""
    chip = topology.chip
    inside = sum(link_bytes(each, topology.chips_per_slice) for each in collectives)
    across = 0.0
    if topology.slices > 1 and chip.dcn_rate:
        across = sum(_across(each, topology) for each in collectives) / chip.dcn_rate
    return Roofline(
        compute=flops / chip.rate(precision),
        memory=cost.hbm_bytes / chip.hbm_rate,
        interconnect=inside / chip.ici_rate,
        network=across,
        compiler=cost.cycles / chip.clock if chip.clock else None,
    )


def link_bytes(each: Collective, most: int | None = None) -> float:
    """Compute the bytes that a chip sends for a collective with the best known algorithms.

    An all-reduce of n bytes over k chips sends 2 n (k - 1) / k, an all-gather with a result of n
    bytes or a reduce-scatter with an operand of n bytes n (k - 1) / k (Thakur et al. 2005).
    """
    k = min(each.group, most or each.group)
    if k < 2:
        return 0.0
    n = each.bytes * each.times
    if each.kind == "all-reduce":
        return 2 * n * (k - 1) / k
    if each.kind == "reduce-scatter":
        return n * (k - 1)  # its result is a k-th of the operand
    if each.kind in ("all-gather", "all-to-all"):
        return n * (k - 1) / k
    return n


def _across(each: Collective, topology: AnyTopology) -> float:
    """Bytes a chip sends to other slices: for its share, after its slice has reduced its own."""
    if each.group <= topology.chips_per_slice:
        return 0.0
    s = topology.slices
    n = each.bytes * each.times / topology.chips_per_slice
    return (2 if each.kind == "all-reduce" else 1) * n * (s - 1) / s
