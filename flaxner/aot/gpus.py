"""NVIDIA GPUs, their published figures, and how an absent one is described to the compiler."""

from __future__ import annotations

import dataclasses
import re

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Gpu:
    """The published figures of a GPU; they bound a run, they do not predict it.

    Attributes:
      name: as in a topology, `h100`.
      title: NVIDIA's name.
      flops: peak operations per second with bfloat16 operands, without sparsity.
      tf32: the same with TF32 operands; None if not supported.
      float32: the same in float32, outside the matrix units.
      hbm_bytes: bytes of memory that a program sees, without those used for error correction.
      hbm_rate: bytes per second between memory and chip.
      ici_rate: bytes per second that it sends to other GPUs of its node (NVLink, else PCIe).
      dcn_rate: bytes per second and GPU between NVIDIA's own nodes; None if not published.
      capability: major and minor compute capability.
      cores: streaming multiprocessors.
      fpus: float32 units per core.
      threads: concurrent threads per core.
      shared: bytes of shared memory per core, and the most that a block may request.
      cache: bytes of level 2 cache.
      clock_ghz: boost clock.
      links: NVLinks.
      source: where the figures are published.
      note: what its users must know.
    """

    name: str
    title: str
    flops: float
    tf32: float | None
    float32: float
    hbm_bytes: int
    hbm_rate: float
    ici_rate: float
    dcn_rate: float | None
    capability: tuple[int, int]
    cores: int
    fpus: int
    threads: int
    shared: tuple[int, int]
    cache: int
    clock_ghz: float
    links: int
    source: str
    note: str = ""

    clock = None  # NVIDIA's compiler does not estimate cycles

    def rate(self, precision: str) -> float:
        """Matrix-product operations per second in a precision."""
        return {"float32": self.float32, "tf32": self.tf32 or self.float32}.get(
            precision, self.flops
        )


_DATASHEETS = "https://www.nvidia.com/en-us/data-center"
_XLA = "sizes: XLA's xla/backends/gpu/target_config/specs"
_GUIDE = "sizes: CUDA C++ Programming Guide, compute capabilities"
_SHARED = {80: (167936, 166912), 89: (102400, 101376), 75: (65536, 65536), 90: (233472, 232448)}
# Links: NVLink's published figure counts both directions; a GPU sends half of it. Between nodes:
# one network port per GPU of DGX A100 (200 Gb/s), DGX H100, H200 and B200 (400 Gb/s).
# T4 and L4 use a sixteenth of their memory for error correction.
GPUS: dict[str, Gpu] = {
    gpu.name: gpu
    for gpu in (
        Gpu(
            "a100-40", "A100 SXM 40 GB", 312e12, 156e12, 19.5e12, 42331013120, 1.555e12, 300e9,
            25e9, (8, 0), 108, 64, 2048, _SHARED[80], 41943040, 1.41, 12,
            f"{_DATASHEETS}/a100; {_XLA}/a100_sxm_40.txtpb",
        ),
        Gpu(
            "a100-80", "A100 SXM 80 GB", 312e12, 156e12, 19.5e12, 85100068864, 2.039e12, 300e9,
            25e9, (8, 0), 108, 64, 2048, _SHARED[80], 41943040, 1.41, 12,
            f"{_DATASHEETS}/a100; {_XLA}/a100_sxm_80.txtpb",
        ),
        Gpu(
            "h100", "H100 SXM 80 GB", 989.4e12, 494.7e12, 66.9e12, 84942979072, 3.35e12, 450e9,
            50e9, (9, 0), 132, 128, 2048, _SHARED[90], 52428800, 1.98, 18,
            f"{_DATASHEETS}/h100; {_XLA}/h100_sxm.txtpb",
        ),
        Gpu(
            "h100-pcie", "H100 PCIe 80 GB", 756e12, 378e12, 51.2e12, 84942979072, 2.039e12, 64e9,
            None, (9, 0), 114, 128, 2048, _SHARED[90], 52428800, 1.755, 0,
            f"{_DATASHEETS}/h100; {_XLA}/h100_pcie.txtpb", "links: PCIe 5, without NVLink bridges",
        ),
        Gpu(
            "h200", "H200 SXM 141 GB", 989.4e12, 494.7e12, 66.9e12, 151397597184, 4.8e12, 450e9,
            50e9, (9, 0), 132, 128, 2048, _SHARED[90], 52428800, 1.98, 18,
            f"{_DATASHEETS}/h200; {_XLA}/h200.txtpb",
        ),
        Gpu(
            "b200", "B200 180 GB", 2250e12, 1125e12, 75e12, 191514411008, 8e12, 900e9,
            50e9, (10, 0), 148, 128, 2048, _SHARED[90], 132644864, 1.965, 18,
            f"{_DATASHEETS}/dgx-b200 (an eighth of it); {_XLA}/b200.txtpb",
        ),
        Gpu(
            "l4", "L4 24 GB", 121e12, 60e12, 30.3e12, 45 * GIB // 2, 300e9, 32e9,
            None, (8, 9), 58, 128, 1536, _SHARED[89], 48 * 2**20, 2.04, 0,
            f"{_DATASHEETS}/l4; {_GUIDE}", "links: PCIe 4",
        ),
        Gpu(
            "t4", "T4 16 GB", 65e12, None, 8.1e12, 15 * GIB, 320e9, 16e9,
            None, (7, 5), 40, 64, 1024, _SHARED[75], 4 * 2**20, 1.59, 0,
            f"{_DATASHEETS}/tesla-t4; {_GUIDE}",
            "links: PCIe 3; its matrix units take float16 and no bfloat16, which is computed in "
            "float32: the peak is out of reach",
        ),
        Gpu(
            "rtx4090", "GeForce RTX 4090", 165.2e12, 82.6e12, 82.6e12, 24564 * 2**20, 1.008e12,
            32e9, None, (8, 9), 128, 128, 1536, _SHARED[89], 72 * 2**20, 2.52, 0,
            "NVIDIA Ada GPU Architecture whitepaper, appendix A (float32 accumulation); " + _GUIDE,
            "links: PCIe 4",
        ),
    )
}  # fmt: skip
ALIASES = {"a100": "a100-80", "h100-sxm": "h100", "4090": "rtx4090"}
PER_NODE = 8  # GPUs in the largest node


@dataclasses.dataclass(frozen=True)
class GpuTopology:
    """GPUs of one or more equal nodes.

    Attributes:
      chip: kind of GPU.
      chips_per_slice: GPUs per node.
      slices: number of nodes.
    """

    chip: Gpu
    chips_per_slice: int
    slices: int = 1

    platform = "gpu"  # JAX's name for the platform

    @property
    def name(self) -> str:
        """`h100:8`, for several nodes `2*h100:8`."""
        text = f"{self.chip.name}:{self.chips_per_slice}"
        return text if self.slices == 1 else f"{self.slices}*{text}"

    @property
    def chips(self) -> int:
        """GPUs in all nodes."""
        return self.chips_per_slice * self.slices


def parse_gpus(text: str) -> GpuTopology | None:
    """Parse `h100`, `h100:8`, `2*h100:8`; None if it is not the name of a GPU.

    Raises:
      ValueError: the number of GPUs or nodes is out of range.
    """
    match = re.fullmatch(r"(?:(\d+)\*)?([a-z0-9-]+?)(?::(\d+))?", text.strip().lower())
    name = ALIASES.get(match[2], match[2]) if match else ""
    if match is None or name not in GPUS:
        return None
    nodes, each = int(match[1] or 1), int(match[3] or 1)
    if nodes < 1 or not 1 <= each <= PER_NODE:
        raise ValueError(
            f"a node has 1 to {PER_NODE} GPUs, and a topology at least one node: got {text!r}; "
            f"two nodes of eight GPUs are 2*{name}:8"
        )
    return GpuTopology(GPUS[name], each, nodes)


# Versions that the compiler assumes on the machine: those that jax 0.10 was built with.
CUDNN, CUDA = (9, 12, 0), (13, 0, 0)


def target_config(gpu: Gpu) -> str:
    """Describe a GPU to XLA's compiler: its GpuTargetConfigProto, as text."""
    major, minor = gpu.capability
    exact = " feature_extension: ACCELERATED_FEATURES" if major >= 9 else ""
    cudnn, cuda = (".".join(map(str, version)) for version in (CUDNN, CUDA))
    numbers = {
        "threads_per_block_limit": 1024,
        "threads_per_warp": 32,
        "shared_memory_per_block": 49152,
        "shared_memory_per_core": gpu.shared[0],
        "shared_memory_per_block_optin": gpu.shared[1],
        "threads_per_core_limit": gpu.threads,
        "core_count": gpu.cores,
        "fpus_per_core": gpu.fpus,
        "block_dim_limit_x": 2**31 - 1,
        "block_dim_limit_y": 65535,
        "block_dim_limit_z": 65535,
        "thread_dim_limit_x": 1024,
        "thread_dim_limit_y": 1024,
        "thread_dim_limit_z": 64,
        "memory_bandwidth": int(gpu.hbm_rate),
        "l2_cache_size": gpu.cache,
        "clock_rate_ghz": gpu.clock_ghz,
        "device_memory_size": gpu.hbm_bytes,
        "registers_per_core_limit": 65536,
        "registers_per_block_limit": 65536,
    }
    lines = [f"{name}: {value}" for name, value in numbers.items()]
    lines += [
        f"cuda_compute_capability {{ major: {major} minor: {minor}{exact} }}",
        'device_vendor: "NVIDIA Corporation"',
        f'name: "NVIDIA {gpu.title}"',
        f'driver_version: "{cuda}" runtime_version: "{cuda}"',
        f'compile_time_toolkit_version: "{cuda}"',
        f'dnn_version: "{cudnn}"',
    ]
    if gpu.links:
        lines.append(f"device_interconnect_info {{ active_links: {gpu.links} }}")
    version = "major: {} minor: {} patch: {}".format(*CUDNN)
    return (
        f'gpu_device_info {{\n{chr(10).join(lines)}\n}}\nplatform_name: "CUDA"\n'
        f'dnn_version_info {{ {version} }}\ndevice_description_str: "NVIDIA {gpu.title}"\n'
    )
