"""Find the wrong labels in a corpus."""

from __future__ import annotations

from collections.abc import Sequence

from flaxner.config.command_line import Parser, add_settings, at_least, path
from flaxner.data.readers import READING, ReadOptions
from flaxner.wording import number_of


def parser(prog: str = "audit.py") -> Parser:
    """Return the command's parser."""
    flags = Parser(
        prog=prog,
        description="Find wrong annotations in the sentences that a run held out (a run with "
        "--cross-validation has held out its whole training corpus). With --apply, apply your "
        "decisions to a corpus file.",
    )
    flags.add_argument("run", nargs="?", metavar="OUT", type=path, help="output folder of a run")
    flags.add_argument("--output-dir", type=path, help="folder to write (default: OUT-audit)")
    flags.add_argument(
        "--limit", type=at_least(1), default=1000, help="maximum number of findings (default: 1000)"
    )
    flags.add_argument(
        "--apply", type=path, metavar="DECISIONS", help="decisions.jsonl saved from the audit page"
    )
    flags.add_argument("--file", type=path, help="with --apply: corpus file that was audited")
    flags.add_argument("--output-file", type=path, help="with --apply: corrected corpus to write")
    add_settings(flags, READING, several=False)
    return flags


def main(arguments: Sequence[str] | None = None, prog: str = "audit.py") -> int:
    """Audit a run, or apply decisions."""
    flags = parser(prog)
    given = flags.parse_args(arguments)
    reading = {name: value for name, value in vars(given).items() if name in READING}
    applying = (given.apply, given.file, given.output_file)
    if given.run is None and None in applying:
        flags.error("give a run, or --apply, --file and --output-file together")
    if given.run is not None and (applying != (None, None, None) or reading):
        flags.error("a run takes only --output-dir and --limit: the other flags go with --apply")

    def work() -> None:
        from flaxner import terminal

        if given.run is not None:
            from flaxner.audit.run import audit
            from flaxner.runs.paths import RunPaths

            folder = given.output_dir or RunPaths(given.run).beside("-audit")
            lines = audit(given.run, folder, given.limit)
        else:
            from flaxner.audit.correcting import correct
            from flaxner.audit.findings import read_decisions

            decisions = read_decisions(given.apply)
            done = correct(given.file, decisions, given.output_file, ReadOptions(**reading))
            lines = [
                f"applied {number_of(done.decisions, 'decisions')}: "
                f"{number_of(done.words, 'tags')} in {number_of(done.sentences, 'sentences')} "
                f"changed in {given.output_file}"
            ]
        terminal.console().print(*lines, sep="\n", soft_wrap=True)

    return flags.run(work)
