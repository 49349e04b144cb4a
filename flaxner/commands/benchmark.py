"""Side by side with torch."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from flaxner.config.command_line import Parser

# subcommand -> (its module: add_arguments(parser), run(arguments) -> exit code; one line of help)
SUBCOMMANDS = {
    "pipeline": ("flaxner.benchmark.pipeline", "texts a second, time to the first answer"),
    "serve": ("flaxner.benchmark.serve", "requests a second over HTTP, and how long they take"),
    "train": ("flaxner.benchmark.train", "training steps a second, memory, compile time"),
    "quality": ("flaxner.benchmark.quality", "F1 at equal settings, seed by seed"),
}


def parser(prog: str = "benchmark.py", chosen: Sequence[str] = tuple(SUBCOMMANDS)) -> Parser:
    """The flags; those of the chosen subcommands only, since their modules are heavy."""
    flags = Parser(prog=prog, description="One JSON object a line on standard output.")
    subparsers = flags.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    for name, (module, help_) in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(name, prog=f"{prog} {name}", help=help_)
        if name in chosen:
            importlib.import_module(module).add_arguments(subparser)
    return flags


def main(arguments: Sequence[str] | None = None, prog: str = "benchmark.py") -> int:
    """Measure."""
    words = sys.argv[1:] if arguments is None else arguments
    flags = parser(prog, [word for word in words if not word.startswith("-")][:1])
    given = flags.parse_args(arguments)

    def work() -> int:
        return importlib.import_module(SUBCOMMANDS[given.subcommand][0]).run(given)

    return flags.run(work)
