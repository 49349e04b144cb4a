"""The text of a compiled program -> its computations and their instructions."""

from __future__ import annotations

import dataclasses
import functools
import math
import re

BYTES = {"pred": 1, "s4": 0.5, "u4": 0.5, "bf16": 2, "f16": 2, "c64": 8, "token": 0}
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
        """Return the first group of a pattern in the operands and attributes."""
        match = re.search(pattern, self.rest)
        return match[1] if match else None


Computation = dict[str, Instruction]


def size(kind: str, dims: str) -> float:
    """Bytes of an array type: `bf16`, `32,128`."""
    width = BYTES.get(kind)
    if width is None:
        digits = re.search(r"\d+", kind)
        width = int(digits[0]) / 8 if digits else 4
    return width * math.prod(int(d) for d in dims.split(",") if d)


def read_text(text: str) -> tuple[dict[str, Computation], str]:
    """Parse `compiled.as_text()`: computations by name, and the name of the entry computation."""
    computations: dict[str, Computation] = {}
    entry = ""
    current: Computation = {}
    for line in text.splitlines():
        if line.startswith(("%", "ENTRY")) and line.endswith("{"):
            name = line.removeprefix("ENTRY ").split()[0].removeprefix("%")
            current = computations[name] = {}
            if line.startswith("ENTRY"):
                entry = name
        elif match := _INSTRUCTION.match(line):
            root, name, result, op, rest = match.groups()
            current[name] = Instruction(name, op, result, rest, bool(root))
    return computations, entry
