"""Interface to NVIDIA's compiler: devices to compile for, their memory, its version."""

from __future__ import annotations

import os
from importlib import metadata
from typing import Any

import jax

from flaxner.aot.gpus import GpuTopology, target_config
from flaxner.wording import first_line

WHEELS = ("jax-cuda13-plugin", "jax-cuda13-pjrt", "nvidia-cuda-nvcc", "nvidia-nvvm")
SHARE = 0.75  # fraction of a GPU's memory that JAX takes for arrays by default
SHARE_VARIABLE = "XLA_PYTHON_CLIENT_MEM_FRACTION"
# Bytes for the driver, libraries and collectives: assumed, not measured.
BESIDE = 2**30
# Since JAX 0.11, what must repeat bit for bit uses the first of cuBLASLt's kernels. A GPU replaces
# products fused by Triton by them; without one, the compiler cannot, and fails.
OPTIONS = {"xla_gpu_enable_triton_gemm": False} if jax.__version_info__ >= (0, 11) else {}


def require() -> None:
    """Require NVIDIA's compiler.

    Raises:
      ValueError: says how to install it.
    """
    absent = [name for name in WHEELS if _version(name) is None]
    if absent:
        raise ValueError(
            f"preflight for GPUs needs NVIDIA's compiler (missing: {', '.join(absent)}): "
            "pip install 'flaxner[preflight-gpu]'"
        )


def topology_devices(topology: GpuTopology) -> list[Any]:
    """Return the devices to compile for.

    Raises:
      ValueError: the compiler is not installed, or rejects the GPU.
    """
    require()
    # Otherwise the plug-in looks for a driver, and is not available without one.
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    from jax.experimental import topologies

    try:
        described = topologies.get_topology_desc(
            "",
            "cuda",
            target_config=target_config(topology.chip),
            topology=f"{topology.slices}x1x{topology.chips_per_slice}",
        )
    except Exception as error:  # the plug-in's errors have no type of their own
        reason = first_line(error)[:200]
        raise ValueError(f"NVIDIA's compiler rejects {topology.name} ({reason})") from error
    return list(described.devices)


def version() -> str:
    """Return the version of the installed compiler; results of other versions are not reused."""
    return " ".join(f"{name} {_version(name)}" for name in WHEELS)


def room(topology: GpuTopology) -> int:
    """Return the bytes of a GPU that arrays and temporaries may take.

    The compiler does not reject a program that is too large, so its sizes are compared with this.

    Raises:
      ValueError: the memory fraction in the environment is not valid.
    """
    text = os.environ.get(SHARE_VARIABLE, "")
    try:
        share = float(text or SHARE)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ValueError(f"{SHARE_VARIABLE} must be above 0 and at most 1: got {text!r}")
    whole = topology.chip.hbm_bytes
    return min(int(share * whole), whole - BESIDE)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
