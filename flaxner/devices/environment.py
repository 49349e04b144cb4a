"""What the environment gives: devices, XLA's flags, a folder for compiled programs."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys

import jax

# Flags that every XLA has, and that end no process: they need no trial.
KNOWN_FLAGS = re.compile(r"(\s*--xla_force_host_platform_device_count=\d+)*\s*")
TRIAL = "from jaxlib import xla_client; xla_client.CompileOptions()"


@functools.cache
def check_devices() -> None:
    """Refuse to go on without a device; every command asks before it uses one.

    Raises:
      ValueError: JAX finds none of the wanted kind, or XLA does not take its flags.
    """
    _check_flags(os.environ.get("XLA_FLAGS", ""))
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # an assertion, too, in jax 0.10
        wanted = jax.config.jax_platforms  # type: ignore[attr-defined]
        wish = f" of the platform {wanted!r}" if wanted else ""
        reason = str(error) and f": {first_line(error)}"
        raise ValueError(
            f"JAX finds no device{wish}{reason}; JAX_PLATFORMS=cpu computes without one"
        ) from error


def _check_flags(flags: str) -> None:
    """XLA ends the process at a flag that it does not know: try it in another."""
    if KNOWN_FLAGS.fullmatch(flags):
        return
    trial = subprocess.run([sys.executable, "-c", TRIAL], capture_output=True, text=True)
    match = re.search(r"^[EF]\d.*?flags\S*\.cc:\d+\] ([^\n]{1,200})", trial.stderr, re.MULTILINE)
    if trial.returncode and match:  # what else may be wrong shows when a device is asked for
        raise ValueError(f"XLA_FLAGS cannot be used: {match[1]}")


def first_line(error: BaseException) -> str:
    """What an error says, in a line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
