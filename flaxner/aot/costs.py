"""Memory traffic by part of the model, from a compiled program's text, loop iterations included.

XLA's own `cost_analysis` counts the body of a loop once, and on-chip memory like HBM. This module
reads the optimised HLO that the TPU compiler prints: every instruction with its operands,
layouts, loop trip counts, the compiler's estimate of cycles, and the scope it was written in.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import defaultdict

from flaxner.aot.hlo import Computation, Instruction, read_text
from flaxner.aot.parts import part_of
from flaxner.aot.traffic import Cost, cost_of

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
OPERANDS_FIRST = ("all-gather", "collective-permute")  # in the type of what starts them
_ORDER = r"(?:, device_ids=\(\[[^\]]*\](?:T\([\d,]*\))?\))?"  # order of a mesh's devices
_FREE = {
    *("parameter", "constant", "get-tuple-element", "tuple", "bitcast", "while", "call"),
    *("after-all", "copy-done", "slice-done", "partition-id", "conditional", "iota"),
    *("async-done", "async-update", "optimization-barrier"),
}


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective operation: bytes of its result on a chip, chips per group."""

    kind: str
    bytes: float
    group: int
    times: int


@dataclasses.dataclass(frozen=True)
class Kernels:
    """Kernels, which are launched one after the other in the order of the compiled program.

    Attributes:
      count: number of kernels, loop iterations included, collectives excluded.
      small: number of kernels that move less than SMALL bytes.
      reduced: bytes of collectives between chips.
      early: the part of these bytes whose collectives start before the last matrix product of the
        backward pass and do not block what follows.
    """

    count: int = 0
    small: int = 0
    reduced: float = 0.0
    early: float = 0.0


SMALL = 64 * 2**10
# Without products that sum a table's rows (`layers.row_sums`), which may wait for a gather.
_BACKWARD = re.compile(r'op_name="(?![^"]*row_sums)[^"]*transpose\([^"]*dot_general')


@dataclasses.dataclass(frozen=True)
class ProgramCost:
    """The cost of one run of a program, per chip.

    Attributes:
      parts: part of the model -> cost.
      collectives: in program order.
      loops: trip counts of its loops.
      kernels: their number, and where collectives fall between them.
    """

    parts: dict[str, Cost]
    collectives: list[Collective]
    loops: list[int]
    kernels: Kernels


def read_program(text: str, devices: int) -> ProgramCost:
    """Read the text of `compiled.as_text()`."""
    return _Reader(text, devices).read()


@dataclasses.dataclass
class _Begun:
    """A started collective: bytes, backward-pass products before it, whether it is asynchronous."""

    bytes: float
    products: int
    asynchronous: bool


class _Reader:
    def __init__(self, text: str, devices: int) -> None:
        self.devices = devices
        self.computations, self.entry = read_text(text)
        self.readers: dict[int, dict[str, list[Instruction]]] = {}
        self.parts: dict[str, Cost] = defaultdict(Cost)
        self.collectives: list[Collective] = []
        self.channels: dict[str, _Begun] = {}
        self.loops: list[int] = []
        self.count = self.small = 0
        self.products = 0  # of the backward pass
        self.begun: list[_Begun] = []

    def read(self) -> ProgramCost:
        self._walk(self.entry, 1)
        reduced = sum(each.bytes * each.times for each in self.collectives)
        early = sum(b.bytes for b in self.begun if b.asynchronous and b.products < self.products)
        kernels = Kernels(self.count, self.small, reduced, early)
        return ProgramCost(dict(self.parts), self.collectives, self.loops, kernels)

    def _walk(self, name: str, times: int) -> None:
        computation = self.computations[name]
        for each in computation.values():
            if each.op == "while":
                trips = self._trips(each)
                self.loops.append(trips)
                self._walk(each.attribute(r"body=%?([\w.\-]+)") or "", times * trips)
            elif each.op in ("call", "async-start") and (
                callee := each.attribute(r"(?:to_apply|calls)=%?([\w.\-]+)")
            ):
                self._walk(callee, times)
            elif each.op.removesuffix("-start") in COLLECTIVES:
                self._collective(each, times)
            elif each.op not in _FREE and not each.op.endswith("-done"):
                self._fused_collectives(each, times)
                part = part_of(each.rest) or self._neighbour(each, computation) or "other"
                cost = cost_of(each, computation, self.computations)
                self.parts[part].add(cost, times)
                self.count += times
                self.small += times * (cost.all_bytes < SMALL)
                self.products += bool(_BACKWARD.search(each.rest))

    def _trips(self, loop: Instruction) -> int:
        """Return a loop's trip count: as stated, or the bound that its condition compares with."""
        if stated := loop.attribute(r'"known_trip_count":\{"n":"(\d+)"'):
            return int(stated)
        condition = self.computations[loop.attribute(r"condition=%?([\w.\-]+)") or ""]
        root = next(i for i in condition.values() if i.root)
        constants = (condition.get(name) for name in root.operands)
        bounds = [c.rest for c in constants if c is not None and c.op == "constant"]
        bound = re.match(r"(\d+)\)", bounds[0]) if bounds and root.op == "compare" else None
        return int(bound[1]) if bound else 1

    def _collective(self, each: Instruction, times: int) -> None:
        kind = each.op.removesuffix("-start")
        starts = each.op.endswith("-start")
        arrays, whole = each.arrays, 2  # a result is read as an operand of its size, and written
        results = arrays
        if starts and (each.result.startswith("((") or kind in OPERANDS_FIRST):
            count = len(each.operands)  # operands, results, and for a permutation two counters
            arrays, results, whole = arrays[: 2 * count], arrays[count : 2 * count], 1
        moved = sum(bytes_ for bytes_, _ in results)
        group = _group_size(each.rest, self.devices)
        self.collectives.append(Collective(kind, moved, group, times))
        self.begun.append(_Begun(moved * times, self.products, starts))
        # Local traffic: the operand is read from and the result written to HBM.
        local = whole * sum(bytes_ for bytes_, hbm in arrays if hbm)
        everything = whole * sum(bytes_ for bytes_, _ in arrays)
        self.parts["collectives"].add(Cost(local, everything), times)

    def _fused_collectives(self, each: Instruction, times: int) -> None:
        """Record collectives that the compiler put into a fusion; their traffic is the fusion's.

        One that overlaps with products is in several fusions, under one channel: where it starts,
        with products, and where it ends. An all-reduce of which each chip keeps its slice counts
        as a reduce-scatter.
        """
        callee = each.attribute(r"calls=%?([\w.\-]+)") or ""
        for inner in self.computations.get(callee, {}).values():
            if inner.op in COLLECTIVES:
                scattered = inner.op == "all-reduce" and "scatter" in callee
                sizes = [bytes_ for bytes_, _ in inner.arrays]
                key = f"{inner.attribute(r'channel_id=([0-9]+)') or callee} {sizes}"
                if key in self.channels:
                    self.channels[key].asynchronous = True
                    continue
                moved = sum(sizes)
                group, kind = _group_size(inner.rest, self.devices), inner.op
                if scattered:
                    kind, moved = "reduce-scatter", moved / group
                self.collectives.append(Collective(kind, moved, group, times))
                begun = self.channels[key] = _Begun(moved * times, self.products, False)
                self.begun.append(begun)
            elif inner.op == "fusion":
                self._fused_collectives(inner, times)

    def _neighbour(self, each: Instruction, computation: Computation) -> str | None:
        """Return the part that an unnamed copy serves: its first reader's, else its source's."""
        readers = self._readers(computation)
        names, seen = [each.name], {each.name}
        while names and len(seen) < 50:
            for reader in readers.get(names.pop(0), ()):
                if (part := part_of(reader.rest)) is not None and reader.op != "get-tuple-element":
                    return part
                if reader.name not in seen:
                    seen.add(reader.name)
                    names.append(reader.name)
        sources = (computation.get(name) for name in each.operands)
        return next((part for s in sources if s is not None and (part := part_of(s.rest))), None)

    def _readers(self, computation: Computation) -> dict[str, list[Instruction]]:
        known = self.readers.get(id(computation))
        if known is None:
            known = self.readers[id(computation)] = defaultdict(list)
            for each in computation.values():
                for operand in each.operands:
                    known[operand].append(each)
        return known


def _group_size(rest: str, devices: int) -> int:
    """Number of chips in one group of a collective."""
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", rest):
        return listed[1].count(",") + 1
    if iota := re.search(r"replica_groups=\[\d+,(\d+)\]", rest):
        return int(iota[1])
    if mesh := re.search(rf"replica_groups=mesh\[([^\]]*)\]{_ORDER} \{{([^}}]*)\}}", rest):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", mesh[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", mesh[2]))
    return devices
