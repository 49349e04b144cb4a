"""A model on a corpus -> its scores."""

from __future__ import annotations

from collections.abc import Sequence

from flaxner.config.command_line import Parser
from flaxner.evaluation.command_line import add_arguments, run


def parser(prog: str = "evaluate.py") -> Parser:
    """The flags."""
    flags = Parser(prog=prog, description="Score any token classifier on any corpus.")
    add_arguments(flags)
    return flags


def main(arguments: Sequence[str] | None = None, prog: str = "evaluate.py") -> int:
    """Score, write what was asked for, print the table."""
    flags = parser(prog)
    given = flags.parse_args(arguments)
    return flags.run(lambda: run(flags, given))
