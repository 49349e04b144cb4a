"""A run's page, or one of several runs."""

from __future__ import annotations

from collections.abc import Sequence

from flaxner.config.command_line import Parser, path


def parser(prog: str = "report.py") -> Parser:
    """The flags."""
    flags = Parser(
        prog=prog,
        description="Write the page of a run: learning curves, scores, every error, calibration; "
        "or one page of several runs side by side.",
    )
    flags.add_argument("runs", nargs="+", metavar="OUT", type=path, help="output folder of a run")
    flags.add_argument(
        "--output-file",
        type=path,
        help="the page (default: OUT/report.html of one run, ./report.html of several)",
    )
    return flags


def main(arguments: Sequence[str] | None = None, prog: str = "report.py") -> int:
    """Write the page, and print where it is."""
    flags = parser(prog)
    given = flags.parse_args(arguments)

    def work() -> None:
        from flaxner.reporting.page import write_reports

        print(write_reports(given.runs, given.output_file))

    return flags.run(work)
