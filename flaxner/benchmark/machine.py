"""What a figure depends on: the device, its matrix-product rate, memory."""

from __future__ import annotations

import platform
import re
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from flaxner.inference.onnx_engine import cores
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.dense import product

# Large enough to reach the full rate: quick on two cores; on an accelerator, well over the time
# that it takes to launch a kernel and wait for it.
MATMUL_SIZE_CPU, MATMUL_SIZE = 2048, 8192


def device_name() -> str:
    """Return the accelerator's kind, or the CPU's model and the cores this process may use."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return f"{len(jax.devices())} x {device.device_kind}"
    return f"{_processor()}, {cores()} cores"


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    fields = {line.split(":")[0].strip(): line.split(":", 1)[1].strip() for line in lines if line}
    wide = [flag for flag in fields.get("flags", "").split() if flag in ("avx2", "avx512f")]
    return " ".join([fields.get("model name", platform.processor() or platform.machine()), *wide])


def matmul_size(platform: str) -> int:
    """Rows and columns of the matrices whose product measures a platform's rate."""
    return MATMUL_SIZE_CPU if platform == "cpu" else MATMUL_SIZE


def best_rate(multiply: Callable[[], Any], size: int, seconds: float = 1.0) -> float:
    """FLOP/s of a product of two square matrices: the best of many calls.

    Args:
      multiply: multiplies and waits for the result.
      size: rows and columns of both.
      seconds: how long to repeat it.
    """
    multiply()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        multiply()
        best = min(best, time.perf_counter() - begin)
    return 2 * size**3 / best


def jax_matmul_rate(precision: str) -> float:
    """FLOP/s of the models' matrix products in this precision, accumulated in float32."""
    compute = Compute.here(precision)
    size = matmul_size(jax.default_backend())
    x = jax.random.normal(jax.random.key(0), (size, size)).astype(compute.dtype)
    multiply = jax.jit(lambda a, b: product(a, b, compute.dtype, jnp.float32, tf32=compute.tf32))
    return best_rate(lambda: multiply(x, x).block_until_ready(), size)


def peak_memory() -> dict[str, float]:
    """Peak resident memory of this process and, where reported, of the device, in MB."""
    peak = {"host_peak_mb": round(_host_peak() / 2**20, 1)}
    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        peak["device_peak_mb"] = round(stats["peak_bytes_in_use"] / 2**20, 1)
    return peak


def _host_peak() -> int:
    """Peak resident memory of this process, in bytes."""
    status = Path("/proc/self/status")
    told = status.read_text() if status.exists() else ""
    return peak_bytes(told, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def peak_bytes(status: str, maxrss: int) -> int:
    """Peak resident memory of a process, in bytes.

    Args:
      status: the text of its /proc/self/status; empty where there is none. It covers the running
        program only; getrusage also counts the one that started it.
      maxrss: `ru_maxrss` of its getrusage.
    """
    if peak_line := re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE):
        return 1024 * int(peak_line[1])
    return maxrss if platform.system() == "Darwin" else 1024 * maxrss
