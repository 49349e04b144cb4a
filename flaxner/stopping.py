"""How a run stops before its end: what it says, and what it must know for it."""

from __future__ import annotations

import shlex
from typing import Any

import jax
import jax.numpy as jnp

from flaxner.checkpoint import Checkpoints
from flaxner.interruption import RunStopped
from flaxner.run_folder import RunFolder


class EvaluationCut(Exception):
    """An evaluation that a stop cuts short."""


class NotFinite(ArithmeticError):
    """Loss, gradient or parameters are no numbers any more."""


@jax.jit
def all_finite(params: Any) -> jax.Array:
    """Whether every element is a finite number."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params)]).all()


def go_on(run: RunFolder) -> str:
    """What is saved of a run that stopped, and the command that continues it."""
    steps = Checkpoints(run.checkpoints, read_only=True).steps()
    command = f"python scripts/train.py --config {shlex.quote(str(run.restart))} --resume"
    if steps:
        return f"; saved as of step {steps[-1]} in {run.checkpoints}; go on with: {command}"
    if run.config.is_file():
        return f"; no checkpoint yet; start again with: {command}"
    return "; nothing was written yet"


def device_failure(error: Exception, run: RunFolder) -> Exception:
    """What a failure of devices or of the connection to them means."""
    first = (str(error).splitlines() or ["unknown"])[0]
    if "RESOURCE_EXHAUSTED" in first or "out of memory" in first.lower():
        return ValueError(
            f"the devices have too little memory: {first}; try a larger --accumulate, --remat, "
            "--fsdp over more devices or a smaller --batch-size"
        )
    return RunStopped(f"a device or another process of the run failed: {first}{go_on(run)}")


def advice(run: RunFolder) -> str:
    """What to try when numbers left their range, and which checkpoint is good."""
    steps = Checkpoints(run.checkpoints, read_only=True).steps()
    kept = f"; step {steps[-1]} in {run.checkpoints} is the last good one" if steps else ""
    return (
        "try a lower --learning-rate, a higher --warmup-ratio, a lower --max-grad-norm or "
        f"--precision float32{kept}"
    )
