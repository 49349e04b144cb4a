"""XLA's options for compiling a step for a kind of device, whatever XLA_FLAGS says."""

from __future__ import annotations

import functools
import logging
import os
import re

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from flaxner.wording import first_line

logger = logging.getLogger(__name__)

Options = dict[str, bool | int | str]  # as `jax.jit` takes them

# On GPUs: sums in nondeterministic order, such as scatters with atomic operations, are compiled
# differently, so that a run repeats and resumes bit for bit. Kernels are replayed as CUDA graphs
# however few follow each other: a step of BERT-base has some 600, and the host
# takes longer to launch them one by one than the GPU takes to compute them (docs/gpu.md).
GPU: Options = {"xla_gpu_exclude_nondeterministic_ops": True, "xla_gpu_graph_min_graph_size": 1}

# On several TPU chips: gradients are reduced during the backward pass, each large one separately.
# By default the compiler reduces all of them at once when all are known, and computes nothing
# meanwhile (docs/tpu.md).
TPUS: Options = {
    "xla_enable_async_all_reduce": True,
    "xla_tpu_enable_async_collective_fusion_fuse_all_reduce": True,
    "xla_jf_crs_combiner_threshold_in_bytes": 2**21,
}
# libtpu reads it when it starts: options that a user sets there are left alone.
THEIRS = "LIBTPU_INIT_ARGS"


def compiler_options(mesh: Mesh) -> Options | None:
    """Return options for `jax.jit` of a program on this mesh; None: the compiler's defaults."""
    first = mesh.devices.flat[0]
    if first.platform == "gpu":
        return dict(GPU)
    if first.platform != "tpu" or mesh.size == 1:
        return None
    here = (each for each in mesh.devices.flat if each.process_index == jax.process_index())
    if not _known(next(here, first)):
        return None
    named = set(re.findall(r"--(\w+)", os.environ.get(THEIRS, "")))
    return {k: v for k, v in TPUS.items() if k not in named}


@functools.cache
def _known(device: jax.Device) -> bool:
    """Whether this version of libtpu has the options for TPUs: others may not."""
    alone = NamedSharding(Mesh([device], "one"), P())
    lowered = jax.jit(lambda x: x, in_shardings=alone, out_shardings=alone).lower(0.0)
    try:
        lowered.compile(compiler_options=TPUS)  # type: ignore[arg-type]  # numbers work too
    except jax.errors.JaxRuntimeError as error:
        logger.warning(
            "this libtpu does not overlap reductions with the backward pass, so training on "
            "several chips is slower than it could be: %s",
            first_line(error),
        )
        return False
    return True
