"""Score any BERT token classifier on any corpus: `python scripts/evaluate.py --help`."""

import sys

from flaxner.config.command_line import Parser, add_settings, path
from flaxner.data.readers import READING, ReadOptions


def main() -> int:
    parser = Parser(prog="evaluate.py", description=__doc__)
    parser.add_argument("--model", type=path, required=True, help="folder or Hub name")
    parser.add_argument("--file", type=path, help="corpus file")
    parser.add_argument("--dataset", type=path, help="corpus on the Hub")
    parser.add_argument("--split", default="test", help="of the dataset (default: test)")
    parser.add_argument("--decoder", choices=("argmax", "viterbi"), default="argmax")
    parser.add_argument("--max-length", type=int, help="of a window (default: that of training)")
    parser.add_argument("--output-dir", type=path, help="for results.json and predictions.conll")
    parser.add_argument(
        "--same-type",
        dest="same_types",
        nargs="*",
        metavar="MODEL=CORPUS",
        help="types that are the same under other names (default: synonyms that leave no doubt)",
    )
    add_settings(parser, READING, several=False)
    given = vars(parser.parse_args())
    if given["same_types"] is not None:
        given["same_types"] = parser.pairs("--same-type", given["same_types"])
    reading = {name: given.pop(name) for name in READING if name in given}

    def work() -> None:
        from flaxner import terminal
        from flaxner.evaluation.classifier_scores import evaluate
        from flaxner.evaluation.table import score_table

        result = evaluate(**given, options=ReadOptions(**reading))
        table = score_table(given["file"] or given["dataset"], result.report.to_dict())
        terminal.console().print(table, *result.lines(), sep="\n", highlight=False)

    return parser.run(work)


if __name__ == "__main__":
    sys.exit(main())
