"""Write the report of one run, or one report of several runs."""

from __future__ import annotations

from collections.abc import Sequence

from flaxner.config.command_line import Parser, path


def parser(prog: str = "report.py") -> Parser:
    """Return the command's parser."""
    flags = Parser(
        prog=prog,
        description="Write the report of a run (learning curves, scores, every error, "
        "calibration), or one report of several runs side by side.",
    )
    flags.add_argument("runs", nargs="+", metavar="OUT", type=path, help="output folder of a run")
    flags.add_argument(
        "--output-file",
        type=path,
        help="page to write (default: OUT/report.html for one run, ./report.html for several)",
    )
    return flags


def main(arguments: Sequence[str] | None = None, prog: str = "report.py") -> int:
    """Write the report and print its path."""
    flags = parser(prog)
    given = flags.parse_args(arguments)

    def work() -> None:
        from flaxner.reporting.page import write_reports

        print(write_reports(given.runs, given.output_file))

    return flags.run(work)
