"""Which labels of a corpus are wrong?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from flaxner.config.command_line import Parser, add_settings, path
from flaxner.data.readers import READING, ReadOptions


def parser(prog: str = "audit.py") -> Parser:
    """The flags."""
    flags = Parser(
        prog=prog,
        description="Find wrong annotations: in what a run has held out (a run with "
        "--cross-validation has held out all of its training corpus). With --apply, put what was "
        "decided into a corpus file.",
    )
    flags.add_argument("run", nargs="?", metavar="OUT", type=path, help="output folder of a run")
    flags.add_argument("--output-dir", type=path, help="for what is found (default: OUT-audit)")
    flags.add_argument("--limit", type=_positive, default=1000, help="suspicions (default: 1000)")
    flags.add_argument(
        "--apply", type=path, metavar="DECISIONS", help="decisions.jsonl of the page"
    )
    flags.add_argument("--file", type=path, help="with --apply: the corpus file that was audited")
    flags.add_argument("--output-file", type=path, help="with --apply: the corrected corpus")
    add_settings(flags, READING, several=False)
    return flags


def main(arguments: Sequence[str] | None = None, prog: str = "audit.py") -> int:
    """Audit, or apply decisions."""
    flags = parser(prog)
    given = flags.parse_args(arguments)
    reading = {name: value for name, value in vars(given).items() if name in READING}
    applying = (given.apply, given.file, given.output_file)
    if given.run is None and None in applying:
        flags.error("name a run, or give --apply, --file and --output-file together")
    if given.run is not None and (applying != (None, None, None) or reading):
        flags.error("a run is audited alone: --apply and what belongs to it stand by themselves")

    def work() -> None:
        from flaxner import terminal

        if given.run is not None:
            from flaxner.audit.run import audit

            folder = given.output_dir or f"{given.run.rstrip('/')}-audit"
            lines = audit(given.run, folder, given.limit)
        else:
            from flaxner.audit.correcting import correct
            from flaxner.audit.findings import read_decisions

            decisions = read_decisions(given.apply)
            done = correct(given.file, decisions, given.output_file, ReadOptions(**reading))
            lines = [
                f"{done.decisions:,} decisions: {done.words:,} tags of {done.sentences:,} "
                f"sentences changed in {given.output_file}"
            ]
        terminal.console().print(*lines, sep="\n", highlight=False, soft_wrap=True)

    return flags.run(work)


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a number of at least 1: got {text!r}")
    return int(text)
