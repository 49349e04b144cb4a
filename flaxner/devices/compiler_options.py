"""What XLA is told when it compiles a step for a kind of device, whatever XLA_FLAGS say."""

from __future__ import annotations

from jax.sharding import Mesh

# On GPUs: sums whose order is left to chance, such as scatters by atomic operations, are written in
# another way, so that a run repeats and resumes bit for bit. And kernels are replayed as CUDA
# graphs however few follow each other: a step of BERT-base on a thousand tokens has some 900, and
# the host is slower to start them one by one than the GPU is to compute them (docs/gpu.md).
GPU = {"xla_gpu_exclude_nondeterministic_ops": True, "xla_gpu_graph_min_graph_size": 1}


def compiler_options(mesh: Mesh) -> dict[str, bool | int | str] | None:
    """Options for `jax.jit` of a program on this mesh; None: the compiler's own."""
    return dict(GPU) if mesh.devices.flat[0].platform == "gpu" else None
