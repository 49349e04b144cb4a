"""Test whether two runs, or two sets of seeds, differ by more than chance."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

from flaxner.config.command_line import Parser, at_least, path


def parser(prog: str = "compare_runs.py") -> Parser:
    """Return the command's parser."""
    flags = Parser(
        prog=prog,
        description="Test whether two runs differ by more than chance: paired randomisation test "
        "and bootstrap intervals over sentences, and over seeds if there are several.",
    )
    what = "a run, a folder of runs that differ only in their seeds, or a file of predictions"
    flags.add_argument("a", metavar="A", type=path, help=what)
    flags.add_argument("b", metavar="B", type=path, help="the run to compare it with, as for A")
    flags.add_argument(
        "--split", default="test", help="split to compare: predictions/SPLIT.conll (default: test)"
    )
    flags.add_argument(
        "--resamples",
        type=at_least(100),
        default=10_000,
        help="number of resamples (default: 10000)",
    )
    flags.add_argument(
        "--confidence",
        type=_share,
        default=0.95,
        help="confidence level of the intervals (default: 0.95)",
    )
    flags.add_argument(
        "--seed", type=at_least(0), default=0, help="seed for the resampling (default: 0)"
    )
    flags.add_argument(
        "--json", action="store_true", help="print one JSON object instead of a table"
    )
    return flags


def main(arguments: Sequence[str] | None = None, prog: str = "compare_runs.py") -> int:
    """Compare two runs and print the result."""
    flags = parser(prog)
    given = flags.parse_args(arguments)

    def work() -> None:
        from flaxner import terminal
        from flaxner.evaluation.comparison import comparison_table, read_system, verdict
        from flaxner.evaluation.significance import compare

        a, b = (read_system(name, given.split) for name in (given.a, given.b))
        result = compare(
            a.predictions,
            b.predictions,
            paired=a.seeds == b.seeds,
            resamples=given.resamples,
            confidence=given.confidence,
            seed=given.seed,
            names=[*a.files, *b.files],
        )
        sentence = verdict(given.a, given.b, result)
        if given.json:
            figures = {"a": given.a, "b": given.b, **dataclasses.asdict(result)}
            print(terminal.json_line({**figures, "differ": result.differ, "verdict": sentence}))
        else:
            table = comparison_table(given.a, given.b, result)
            terminal.console().print(table, sentence, sep="\n")

    return flags.run(work, may_be_cut=True)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.5 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0.5 to below 1: got {text!r}")
    return value
