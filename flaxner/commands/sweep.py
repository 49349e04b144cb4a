"""Search for the best settings with Optuna."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence

from flaxner.config.command_line import Parser, add_preset, at_least, path


def parser(prog: str = "sweep.py") -> Parser:
    """Return the command's parser."""
    flags = Parser(
        prog=prog,
        description="Search for the best settings: Optuna proposes them, validation F1 decides, "
        "and trials that are worse than most stop early.",
    )
    flags.add_argument(
        "space",
        metavar="SPACE.toml",
        type=path,
        help="settings of the runs, and a table [space]: learning_rate = {low = 1e-5, high = 1e-3, "
        "log = true}, batch_size = [16, 32]",
    )
    flags.add_argument(
        "--trials", type=at_least(1), default=20, help="total number of trials (default: 20)"
    )
    add_preset(flags, "named set of settings that those in SPACE.toml override")
    flags.add_argument(
        "--output-dir",
        type=path,
        default="runs/sweep",
        help="output folder (default: runs/sweep)",
    )
    flags.add_argument(
        "--seed", type=at_least(0), default=0, help="seed for the proposals (default: 0)"
    )
    flags.add_argument(
        "--prune",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="stop trials early that are worse than most (default: yes)",
    )
    flags.add_argument(
        "--resume", action="store_true", help="continue the sweep in the output folder"
    )
    return flags


def main(arguments: Sequence[str] | None = None, prog: str = "sweep.py") -> int:
    """Run the sweep and print the best settings."""
    flags = parser(prog)
    given = flags.parse_args(arguments)

    def work() -> None:
        from flaxner import terminal
        from flaxner.sweep.space import read_space

        space = read_space(given.space, given.preset)
        if importlib.util.find_spec("optuna") is None:
            raise ValueError("a sweep needs Optuna: pip install 'flaxner[sweep]'")
        from flaxner.sweep.study import output_of, sweep

        console = terminal.console()
        best = sweep(
            space,
            given.output_dir,
            trials=given.trials,
            seed=given.seed,
            prune=given.prune,
            resume=given.resume,
            console=console,
            command=_again(given),
        )
        for line in output_of(best):
            console.print(line, soft_wrap=True)

    return flags.run(work)


def _again(given: argparse.Namespace) -> str:
    """Return the command that was given, without --resume, for the user to repeat."""
    from flaxner.typed_commands import command_line

    words = [given.space, "--trials", str(given.trials)]
    words += ["--output-dir", given.output_dir]
    words += ["--preset", given.preset] if given.preset else []
    words += ["--seed", str(given.seed)] if given.seed else []
    words += [] if given.prune else ["--no-prune"]
    return command_line("sweep", *words)
