"""`flaxner completion SHELL`: print a script that completes subcommands and flags."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from flaxner.commands import COMMANDS
from flaxner.config.command_line import Parser, path

SHELLS = ("bash", "zsh", "tcsh")


def parser(prog: str = "flaxner completion") -> Parser:
    """Return the command's parser."""
    flags = Parser(
        prog=prog,
        description="Print a completion script for a shell. For bash: flaxner completion bash > "
        "~/.local/share/bash-completion/completions/flaxner",
    )
    flags.add_argument("shell", choices=SHELLS, help="shell to print completions for")
    return flags


def main(arguments: Sequence[str] | None = None, prog: str = "flaxner completion") -> int:
    """Print the script."""
    flags = parser(prog)
    shell = flags.parse_args(arguments).shell

    def work() -> None:
        try:
            import shtab
        except ImportError:
            raise ValueError("completions need shtab: pip install 'flaxner[completion]'") from None
        parser = whole(files=shtab.FILE)
        print(shtab.complete(parser, shell=shell))

    return flags.run(work, may_be_cut=True)


def whole(files: object) -> argparse.ArgumentParser:
    """Return all subcommands and their flags as one parser, used for completion, not for parsing.

    Args:
      files: shtab's marker for arguments that are file names.
    """
    parser = argparse.ArgumentParser(prog="flaxner")
    parser.add_argument("--version", action="store_true", help="print the version")
    subparsers = parser.add_subparsers(metavar="SUBCOMMAND")
    for name, command in COMMANDS.items():
        flags = command.load().parser(f"flaxner {name}")
        for action in flags._actions:
            if action.type is path:
                action.complete = files
        subparsers.add_parser(name, help=command.help, parents=[flags], add_help=False)
    return parser
