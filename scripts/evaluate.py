"""Score any BERT token classifier on any corpus: `python scripts/evaluate.py --help`."""

import sys

from flaxner.config import Parser


def main() -> int:
    parser = Parser(prog="evaluate.py", description=__doc__)
    parser.add_argument("--model", required=True, help="folder or Hub name")
    parser.add_argument("--file", help="corpus file")
    parser.add_argument("--dataset", help="corpus on the Hub")
    parser.add_argument("--split", default="test", help="of the dataset (default: test)")
    parser.add_argument("--decoder", choices=("argmax", "viterbi"), default="argmax")
    parser.add_argument("--output-dir", help="for results.json and predictions.conll")
    arguments = parser.parse_args()
    if (arguments.file is None) == (arguments.dataset is None):
        parser.error("give --file, or --dataset with --split")
    from rich.console import Console

    from flaxner.progress import score_table
    from flaxner.scoring import evaluate

    try:
        result = evaluate(**vars(arguments))
    except ValueError as error:
        parser.error(str(error))
    console, report = Console(), result.report
    console.print(score_table(arguments.file or arguments.dataset, report.to_dict()))
    words = f"{report.words_scored:,} of {report.words_in_corpus:,} words scored"
    for line in (f"{words} in {result.seconds:.1f} s", *result.notes):
        console.print(line, highlight=False)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
