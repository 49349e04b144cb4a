"""A run -> what it needs on accelerators, without one."""

from __future__ import annotations

import os
from collections.abc import Sequence

# Before JAX is imported: this program compiles for chips, it never asks for one.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from flaxner.aot.command_line import main as compile_for
from flaxner.aot.command_line import parser

__all__ = ["main", "parser"]


def main(arguments: Sequence[str] | None = None, prog: str = "preflight.py") -> int:
    """Compile, and print the report; 1 if it does not fit."""
    return compile_for(arguments, prog)
