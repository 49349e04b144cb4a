"""Checks of the environment: devices and XLA's flags."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys

import jax

from flaxner.wording import first_line

# Flags that every XLA knows, so that they need no trial.
KNOWN_FLAGS = re.compile(r"(\s*--xla_force_host_platform_device_count=\d+)*\s*")
TRIAL = "from jaxlib import xla_client; xla_client.CompileOptions()"


@functools.cache
def check_devices() -> None:
    """Fail if there is no device; every command calls this before it uses one.

    Raises:
      ValueError: JAX finds no device of the requested kind, or XLA rejects its flags.
    """
    _check_flags(os.environ.get("XLA_FLAGS", ""))
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # also an assertion in jax 0.10
        wanted = jax.config.jax_platforms  # type: ignore[attr-defined]
        wish = f" of the platform {wanted!r}" if wanted else ""
        reason = str(error) and f": {first_line(error)}"
        raise ValueError(
            f"JAX finds no device{wish}{reason}; set JAX_PLATFORMS=cpu to use the CPU"
        ) from error


def _check_flags(flags: str) -> None:
    """Try the flags in another process, since XLA aborts at a flag that it does not know."""
    if KNOWN_FLAGS.fullmatch(flags):
        return
    trial = subprocess.run([sys.executable, "-c", TRIAL], capture_output=True, text=True)
    match = re.search(r"^[EF]\d.*?flags\S*\.cc:\d+\] ([^\n]{1,200})", trial.stderr, re.MULTILINE)
    if trial.returncode and match:  # other errors show when a device is requested
        raise ValueError(f"XLA_FLAGS cannot be used: {match[1]}")
