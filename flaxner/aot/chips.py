"""TPU chips and their published figures; names of topologies and slices, including GPUs."""

from __future__ import annotations

import dataclasses
import math
import re

from flaxner.aot.gpus import ALIASES as GPU_ALIASES
from flaxner.aot.gpus import GIB, GPUS, GpuTopology, parse_gpus


@dataclasses.dataclass(frozen=True)
class Chip:
    """The published figures of a chip; they bound a run, they do not predict it.

    Attributes:
      name: as in a topology, `v5e`.
      title: its name in Google's documentation.
      flops: peak bfloat16 operations per second.
      hbm_bytes: bytes of memory.
      hbm_rate: bytes per second between memory and chip.
      ici_rate: bytes per second that the chip sends over all its links to other chips at once.
      dcn_rate: bytes per second and chip between slices; None if not published.
      clock: cycles per second, from the peak and the size of the matrix units; None if unknown.
      axes: dimensions of a topology.
      per_host: chips along each axis of a host, or of the VM that makes up a single-host slice.
      sizes_in_cores: whether accelerator names count TensorCores, two per chip: v4-8 has 4 chips.
      options: libtpu options that make each chip one device.
      source: where the figures are published.
    """

    name: str
    title: str
    flops: float
    hbm_bytes: int
    hbm_rate: float
    ici_rate: float
    dcn_rate: float | None
    clock: float | None
    axes: int
    per_host: tuple[int, ...]
    sizes_in_cores: bool
    options: tuple[tuple[str, str], ...]
    source: str
    note: str = ""

    def rate(self, precision: str) -> float:
        """Matrix-product operations per second; one in float32 takes six in bfloat16."""
        return self.flops / 6 if precision == "float32" else self.flops


_MEGACORE = (("chip_config_name", "megacore"),)
_DOCS = "https://docs.cloud.google.com/tpu/docs"
# DCN: the published figure of a pod divided by its chips (v5e 6.4 Tbps / 256, v6e 25.6 Tbps / 256).
# Clocks: v4 and v5p have 8 matrix units of 128 x 128, v5e 4; peak / (2 x 128 x 128 x units).
# v6e: its units are 256 x 256 and sources differ on their number, so no clock is given.
CHIPS: dict[str, Chip] = {
    chip.name: chip
    for chip in (
        Chip(
            "v4", "TPU v4", 275e12, 32 * GIB, 1.2e12, 300e9, None, 1.05e9, 3,
            (2, 2, 1), True, _MEGACORE, f"{_DOCS}/v4; links: 2400 Gbps a chip ({_DOCS}/v5p)",
        ),
        Chip(
            "v5e", "TPU v5e", 197e12, 16 * GIB, 819e9, 200e9, 3.125e9, 1.5e9, 2,
            (2, 4), False, (), f"{_DOCS}/v5e",
        ),
        Chip(
            "v5p", "TPU v5p", 459e12, 95 * GIB, 2765e9, 600e9, None, 1.75e9, 3,
            (2, 2, 1), True, _MEGACORE, f"{_DOCS}/v5p",
        ),
        Chip(
            "v6e", "TPU v6e (Trillium)", 918e12, 32 * GIB, 1640e9, 448e9, 12.5e9, None, 2,
            (2, 4), False, (), f"{_DOCS}/v6e",
        ),
    )
}  # fmt: skip
ALIASES = {"v5litepod": "v5e", "v5lite": "v5e"}


@dataclasses.dataclass(frozen=True)
class Topology:
    """Chips of one or more slices, as described to the compiler.

    Attributes:
      chip: kind of chip.
      shape: chips along each axis of a slice.
      slices: number of equal slices.
    """

    chip: Chip
    shape: tuple[int, ...]
    slices: int = 1

    platform = "tpu"  # JAX's name for the platform

    @property
    def name(self) -> str:
        """`v5e:2x4`, for several slices `2*v5e:2x4`."""
        text = f"{self.chip.name}:{'x'.join(map(str, self.shape))}"
        return text if self.slices == 1 else f"{self.slices}*{text}"

    @property
    def chips_per_slice(self) -> int:
        """Chips per slice."""
        return math.prod(self.shape)

    @property
    def chips(self) -> int:
        """Chips in all slices."""
        return self.chips_per_slice * self.slices

    @property
    def host_bounds(self) -> tuple[int, int, int]:
        """Chips along the three axes of a host; a smaller slice is one host."""
        sizes = [min(a, b) for a, b in zip(self.shape, self.chip.per_host, strict=True)]
        if self.chip.axes == 2 and self.chips_per_slice > 8:
            sizes = [2, 2]  # multi-host slices consist of VMs with four chips
        a, b, c = (*sizes, 1, 1)[:3]
        return a, b, c


AnyTopology = Topology | GpuTopology


def parse_topology(text: str) -> AnyTopology:
    """Parse `v5e:2x4`, `2*v5e:16x16` (two slices), an accelerator name, or GPUs.

    `v5litepod-8` and `v4-8` are accelerator names; GPUs are written `h100`, `h100:8`, `2*h100:8`
    (two nodes).

    Raises:
      ValueError: none of these; the message gives the known chips and examples.
    """
    if (gpus := parse_gpus(text)) is not None:
        return gpus
    match = re.fullmatch(
        r"(?:(?P<slices>\d+)\*)?(?P<chip>[a-z0-9]+)(?::(?P<shape>\d+(?:x\d+)*)|-(?P<size>\d+))",
        text.strip().lower(),
    )
    name = ALIASES.get(match["chip"], match["chip"]) if match else ""
    if not match or name not in CHIPS:
        raise ValueError(f"unknown topology {text!r}; {known_topologies()}")
    chip, slices = CHIPS[name], int(match["slices"] or 1)
    if match["size"]:
        shape = _shape_of(chip, int(match["size"]), text)
    else:
        shape = tuple(int(size) for size in match["shape"].split("x"))
    wrong = len(shape) != chip.axes or slices < 1 or min(shape) < 1
    if wrong or any(b % h for b, h in zip(shape, Topology(chip, shape).host_bounds, strict=False)):
        raise ValueError(f"{name} has no topology {text!r}; {known_topologies()}")
    return Topology(chip, shape, slices)


def _shape_of(chip: Chip, size: int, text: str) -> tuple[int, ...]:
    """Return the usual shape of a slice of `size` chips (or TensorCores): as cubic as possible."""
    chips = size // 2 if chip.sizes_in_cores else size
    if (chip.sizes_in_cores and (size % 2 or chips < 4)) or chips < 1 or chips & (chips - 1):
        raise ValueError(f"{chip.name} has no slice {text!r}; {known_topologies()}")
    power = chips.bit_length() - 1
    exponents = sorted((power // chip.axes + (i < power % chip.axes)) for i in range(chip.axes))
    shape = tuple(2**e for e in exponents)
    return (2, 2, 1) if chip.axes == 3 and chips == 4 else shape


def known_topologies() -> str:
    """List the known chips with examples, for help and error messages."""
    return (
        f"known chips: {', '.join(CHIPS)}; examples: v5e:1x1, v5e:2x4, v6e:4x4 (two axes), "
        f"v4:2x2x1, v5p:2x2x2 (three axes), 2*v5e:2x4 (two slices), v5litepod-8, v4-8, v6e-8; "
        f"known GPUs: {', '.join([*GPUS, *GPU_ALIASES])}; examples: l4, h100:8, "
        f"2*h100:8 (two nodes)"
    )
