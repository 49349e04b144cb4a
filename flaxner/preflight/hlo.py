"""A compiled program's text -> what it moves, by part of the model, loops counted.

XLA's own `cost_analysis` counts the body of a loop once, and on-chip memory like HBM. This
reads the optimised HLO that the TPU compiler prints: every instruction with its operands,
layouts (`S(1)` is on-chip memory, nothing is HBM), loop trip counts, the compiler's estimate of
cycles, and the Python functions it comes from.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections import defaultdict
from collections.abc import Iterator

from flaxner.preflight.parts import parts_of_frames, refined

BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "bf16": 2, "f16": 2, "c64": 8, "token": 0}
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_FREE = {
    *("parameter", "constant", "get-tuple-element", "tuple", "bitcast", "while", "call"),
    *("after-all", "copy-done", "slice-done", "partition-id", "conditional", "iota"),
    *("async-done", "async-update", "optimization-barrier"),
}
_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = (.+?) ([a-z][a-z\-]*)\((.*)")
_ARRAY = re.compile(r"\b([a-z]+[0-9]*[a-z0-9]*)\[([\d,]*)\](\{[^}]*\})?")


@dataclasses.dataclass
class Instruction:
    """A line of a computation."""

    name: str
    op: str
    result: str
    rest: str
    root: bool

    @functools.cached_property
    def arrays(self) -> list[tuple[float, bool]]:
        """(bytes, in HBM) of each array of the result."""
        return [
            (size(kind, dims), "S(" not in (layout or ""))
            for kind, dims, layout in _ARRAY.findall(self.result)
        ]

    @functools.cached_property
    def operands(self) -> list[str]:
        """Names of the operands."""
        depth = 1
        for end, letter in enumerate(self.rest):
            depth += (letter == "(") - (letter == ")")
            if not depth:
                return re.findall(r"%([\w.\-]+)", self.rest[:end])
        return []

    def attribute(self, pattern: str) -> str | None:
        """The first group of a pattern in what follows the operands."""
        match = re.search(pattern, self.rest)
        return match[1] if match else None


@dataclasses.dataclass
class Cost:
    """What some instructions move and take, per chip."""

    hbm_bytes: float = 0.0
    all_bytes: float = 0.0
    cycles: float = 0.0

    def add(self, other: Cost, times: float = 1.0) -> None:
        """Count the other so many times."""
        self.hbm_bytes += times * other.hbm_bytes
        self.all_bytes += times * other.all_bytes
        self.cycles += times * other.cycles


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective operation: bytes of its result on a chip, chips of a group."""

    kind: str
    bytes: float
    group: int
    times: int


@dataclasses.dataclass(frozen=True)
class Program:
    """What a program does in one run, per chip.

    Attributes:
      parts: part of the model -> cost.
      collectives: in program order.
      loops: trip counts of its loops.
    """

    parts: dict[str, Cost]
    collectives: list[Collective]
    loops: list[int]

    @property
    def total(self) -> Cost:
        """All parts."""
        whole = Cost()
        for cost in self.parts.values():
            whole.add(cost)
        return whole


def size(kind: str, dims: str) -> float:
    """Bytes of an array type: `bf16`, `32,128`."""
    width = BYTES.get(kind)
    if width is None:
        digits = re.search(r"\d+", kind)
        width = int(digits[0]) / 8 if digits else 4
    return width * math.prod(int(d) for d in dims.split(",") if d)


def read_program(text: str, devices: int) -> Program:
    """Read what `compiled.as_text()` gives."""
    return _Reader(text, devices).read()


class _Reader:
    def __init__(self, text: str, devices: int) -> None:
        self.devices = devices
        self.part_of_frame = parts_of_frames(text)
        self.computations: dict[str, dict[str, Instruction]] = {}
        self.entry = ""
        current: dict[str, Instruction] = {}
        for line in text.splitlines():
            if line.startswith(("%", "ENTRY")) and line.endswith("{"):
                name = line.removeprefix("ENTRY ").split()[0].removeprefix("%")
                current = self.computations[name] = {}
                if line.startswith("ENTRY"):
                    self.entry = name
            elif match := _INSTRUCTION.match(line):
                root, name, result, op, rest = match.groups()
                current[name] = Instruction(name, op, result, rest, bool(root))
        self.readers: dict[int, dict[str, list[Instruction]]] = {}
        self.parts: dict[str, Cost] = defaultdict(Cost)
        self.collectives: list[Collective] = []
        self.loops: list[int] = []

    def read(self) -> Program:
        self._walk(self.entry, 1)
        return Program(dict(self.parts), self.collectives, self.loops)

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
                part = self._part(each) or self._neighbour(each, computation) or "other"
                self.parts[part].add(self._cost(each, computation), times)

    def _trips(self, loop: Instruction) -> int:
        """How often a loop runs: stated, or the bound that its condition compares with."""
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
        moved = sum(bytes_ for bytes_, _ in each.arrays)
        if each.op.endswith("-start") and each.result.startswith("(("):
            moved /= 2  # operands and results stand in the type
        group = _group_size(each.rest, self.devices)
        self.collectives.append(Collective(kind, moved, group, times))
        # Local traffic: the operand is read from and the result written to HBM.
        local = sum(bytes_ for bytes_, hbm in each.arrays if hbm)
        self.parts["collectives"].add(Cost(2 * local, 2 * moved), times)

    def _part(self, each: Instruction) -> str | None:
        frame = each.attribute(r"stack_frame_id=(\d+)")
        part = self.part_of_frame.get(int(frame or 0))
        return part and refined(part, each.rest)

    def _neighbour(self, each: Instruction, computation: dict[str, Instruction]) -> str | None:
        """The part that a nameless copy serves: of its first reader, else of its source."""
        readers = self._readers(computation)
        names, seen = [each.name], {each.name}
        while names and len(seen) < 50:
            for reader in readers.get(names.pop(0), ()):
                if (part := self._part(reader)) is not None and reader.op != "get-tuple-element":
                    return part
                if reader.name not in seen:
                    seen.add(reader.name)
                    names.append(reader.name)
        sources = (computation.get(name) for name in each.operands)
        return next((part for s in sources if s is not None and (part := self._part(s))), None)

    def _readers(self, computation: dict[str, Instruction]) -> dict[str, list[Instruction]]:
        known = self.readers.get(id(computation))
        if known is None:
            known = self.readers[id(computation)] = defaultdict(list)
            for each in computation.values():
                for operand in each.operands:
                    known[operand].append(each)
        return known

    def _cost(self, each: Instruction, computation: dict[str, Instruction]) -> Cost:
        cycles = float(each.attribute(r'"estimated_cycles":"(\d+)"') or 0)
        if each.op in ("copy-start", "slice-start"):
            return Cost(_copied(each, computation), _copied(each, computation), cycles)
        cost = Cost(cycles=cycles)
        for part, hbm in self._traffic(each, computation):
            cost.all_bytes += part
            cost.hbm_bytes += part if hbm else 0
        return cost

    def _traffic(
        self, each: Instruction, computation: dict[str, Instruction]
    ) -> Iterator[tuple[float, bool]]:
        """(bytes, in HBM) of everything an instruction reads and writes."""
        if each.op == "custom-call" and "ConcatBitcast" in each.rest:
            return  # names a buffer that its operands were copied into
        inner = self.computations.get(each.attribute(r"calls=%?([\w.\-]+)") or "", {})
        parameters = {
            int(i.rest.split(")")[0]): i.name for i in inner.values() if i.op == "parameter"
        }
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


def _read_of(parameter: str, inner: dict[str, Instruction]) -> float:
    """Bytes that a fusion reads of a parameter: a slice where only slices are taken."""
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


def _written(each: Instruction, inner: dict[str, Instruction]) -> dict[int, float]:
    """Number of a result -> bytes written, where it is updated in place."""
    root = next((i for i in inner.values() if i.root), each)
    results = [root]
    if root.op == "tuple":
        results = [inner[name] for name in root.operands if name in inner]
    out = {}
    for number, made in enumerate(results):
        while made.op == "bitcast" and made.operands and made.operands[0] in inner:
            made = inner[made.operands[0]]
        if made.op == "dynamic-update-slice":
            update = inner.get(made.operands[1])
            if update is not None:
                out[number] = sum(bytes_ for bytes_, _ in update.arrays)
    return out


def _copied(each: Instruction, computation: dict[str, Instruction]) -> float:
    """HBM traffic of an asynchronous copy: its destination's size for every end in HBM."""
    arrays = [a for a in each.arrays if a[0] > 4]
    if each.op == "slice-start":
        return arrays[-1][0] * sum(hbm for _, hbm in (arrays[0], arrays[-1])) if arrays else 0.0
    ends = each.arrays[:2]
    return max((bytes_ for bytes_, _ in ends), default=0.0) * sum(hbm for _, hbm in ends)


def _group_size(rest: str, devices: int) -> int:
    """Chips that take part in one group of a collective."""
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", rest):
        return listed[1].count(",") + 1
    if iota := re.search(r"replica_groups=\[\d+,(\d+)\]", rest):
        return int(iota[1])
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}", rest):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", mesh[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", mesh[2]))
    return devices
