"""`flaxner SUBCOMMAND`: find the subcommand and pass it the rest of the command line."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence

from flaxner import __version__
from flaxner.commands import COMMANDS

PROGRAM = "flaxner"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `flaxner` command line and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if words else 2
    name = words[0]
    if name in ("-V", "--version"):
        print(f"{PROGRAM} {__version__}")
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        advice = f"did you mean {near[0]}?" if near else f"choose from: {', '.join(COMMANDS)}"
        print(f"{PROGRAM}: unknown subcommand {name!a}; {advice}", file=sys.stderr)
        return 2
    return COMMANDS[name].load().main(words[1:], f"{PROGRAM} {name}")


def usage() -> str:
    """Return the text that `flaxner --help` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.help}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {PROGRAM} SUBCOMMAND ...",
            "",
            "Fine-tune BERT-like models for named entity recognition in JAX; publish for PyTorch.",
            "",
            *lines,
            "",
            f"'{PROGRAM} SUBCOMMAND --help' lists its flags; '{PROGRAM} --version' prints the "
            "version.",
        ]
    )
