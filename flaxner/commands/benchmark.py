"""Measure flaxner side by side with PyTorch."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from flaxner.config.command_line import Parser

# subcommand -> (module with add_arguments(parser) and run(arguments) -> exit code; one-line help)
SUBCOMMANDS = {
    "pipeline": ("flaxner.benchmark.pipeline", "texts per second, time to first answer"),
    "serve": ("flaxner.benchmark.serve", "requests per second over HTTP, latency"),
    "train": ("flaxner.benchmark.train", "training steps per second, memory, compile time"),
    "quality": ("flaxner.benchmark.quality", "F1 with equal settings, seed by seed"),
}


def parser(prog: str = "benchmark.py", chosen: Sequence[str] = tuple(SUBCOMMANDS)) -> Parser:
    """Return the parser, with flags for the chosen subcommands only: their modules are heavy."""
    flags = Parser(
        prog=prog,
        description="Measure flaxner side by side with PyTorch; print one JSON object per line.",
    )
    subparsers = flags.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    for name, (module, help_) in SUBCOMMANDS.items():
        about = f"Measure flaxner side by side with PyTorch: {help_}."
        called = f"{prog} {name}"
        subparser = subparsers.add_parser(name, prog=called, help=help_, description=about)
        if name in chosen:
            importlib.import_module(module).add_arguments(subparser)
    return flags


def main(arguments: Sequence[str] | None = None, prog: str = "benchmark.py") -> int:
    """Run the chosen benchmark."""
    # JAX reserves three quarters of a GPU's memory by default, and torch runs beside it.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    words = sys.argv[1:] if arguments is None else arguments
    flags = parser(prog, [word for word in words if not word.startswith("-")][:1])
    given = flags.parse_args(arguments)

    def work() -> int:
        return importlib.import_module(SUBCOMMANDS[given.subcommand][0]).run(given)

    return flags.run(work)
