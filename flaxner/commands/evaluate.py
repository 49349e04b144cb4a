"""Score a model on a corpus."""

from __future__ import annotations

from collections.abc import Sequence

from flaxner.config.command_line import Parser, add_settings, path
from flaxner.config.data import CONTEXTS
from flaxner.data.readers import READING, ReadOptions


def parser(prog: str = "evaluate.py") -> Parser:
    """Return the command's parser."""
    flags = Parser(prog=prog, description="Score any token classifier on any corpus.")
    flags.add_argument(
        "--model", type=path, required=True, help="model to score: folder or Hub name"
    )
    flags.add_argument("--file", type=path, help="corpus file")
    flags.add_argument("--dataset", type=path, help="corpus on the Hub")
    flags.add_argument("--split", help="split of the data set (default: test)")
    flags.add_argument(
        "--decoder",
        choices=("crf", "viterbi", "argmax"),
        help="how labels are decoded (default: crf if the model has one, else argmax)",
    )
    flags.add_argument(
        "--max-length", type=int, help="tokens per window (default: same as in training)"
    )
    flags.add_argument(
        "--context", choices=CONTEXTS, help="context of a word (default: same as in training)"
    )
    flags.add_argument(
        "--output-dir", type=path, help="folder for results.json and predictions.conll"
    )
    flags.add_argument(
        "--same-type",
        dest="same_types",
        action="extend",
        nargs="*",
        metavar="MODEL=CORPUS",
        help="types that have different names in model and corpus (default: unambiguous synonyms)",
    )
    add_settings(flags, READING, several=False)
    return flags


def main(arguments: Sequence[str] | None = None, prog: str = "evaluate.py") -> int:
    """Score the model, write the requested files, and print the table."""
    flags = parser(prog)
    given = vars(flags.parse_args(arguments))
    if given["same_types"] is not None:
        given["same_types"] = flags.pairs("--same-type", given["same_types"])
    reading = {name: given.pop(name) for name in READING if name in given}

    def work() -> None:
        from rich.text import Text

        from flaxner import terminal
        from flaxner.evaluation.classifier_scores import evaluate
        from flaxner.evaluation.table import score_table

        wait = f"scoring {given['file'] or given['dataset']}"
        with terminal.console(stderr=True).status(Text(terminal.shown(wait))):
            result = evaluate(**given, options=ReadOptions(**reading))
        table = score_table(given["file"] or given["dataset"], result.report.to_dict())
        console = terminal.console()
        console.print(table)
        console.print(*result.lines(), sep="\n")

    return flags.run(work)
