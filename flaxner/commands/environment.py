"""`flaxner env`: what a bug report should say about the machine; no secrets, no file names."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator, Sequence

from flaxner import __version__
from flaxner.config.command_line import Parser

PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "transformers", "tokenizers", "datasets",
    "seqeval", "safetensors", "huggingface_hub", "numpy", "pyarrow", "torch", "onnxruntime",
    "libtpu", "jax-cuda13-plugin", "jax-cuda12-plugin",
)  # fmt: skip
VARIABLES = ("JAX_PLATFORMS", "XLA_FLAGS", "LIBTPU_INIT_ARGS", "HF_HUB_OFFLINE", "LD_PRELOAD")


def parser(prog: str = "flaxner env") -> Parser:
    """Return the command's parser; it has no flags."""
    return Parser(prog=prog, description="Print versions and devices, to paste into a bug report.")


def main(arguments: Sequence[str] | None = None, prog: str = "flaxner env") -> int:
    """Print the environment as a Markdown list."""
    flags = parser(prog)
    flags.parse_args(arguments)
    return flags.run(lambda: print(*environment(), sep="\n"), may_be_cut=True)


def environment() -> Iterator[str]:
    """Yield lines of Markdown: system, package versions, JAX devices, environment variables."""
    yield f"- flaxner: {__version__}"
    yield f"- Python: {platform.python_version()} ({platform.python_implementation()})"
    yield f"- system: {platform.platform()}, {os.cpu_count()} CPUs"
    for package in PACKAGES:
        try:
            yield f"- {package}: {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    yield f"- devices: {_devices()}"
    for name in VARIABLES:
        if name in os.environ:
            yield f"- {name}: {os.environ[name]}"


def _devices() -> str:
    """Describe the devices that JAX uses, or say why it finds none."""
    import jax

    try:
        devices = jax.devices()
    except RuntimeError as error:
        return f"none ({error})"
    kinds = sorted({device.device_kind for device in devices})
    return f"{len(devices)} x {', '.join(kinds)} ({jax.default_backend()})"
