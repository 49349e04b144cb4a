"""Entities of texts: `python scripts/predict.py --model M TEXT`, `--file F`, or `-` for stdin."""

import sys

from flaxner.config.command_line import Parser, path
from flaxner.inference.printing import OUTPUT_FORMATS


def main() -> int:
    parser = Parser(prog="predict.py", description=__doc__)
    parser.add_argument("texts", nargs="*", metavar="TEXT", help='texts, or "-": lines of stdin')
    parser.add_argument("--model", type=path, required=True, help="folder or Hub name")
    parser.add_argument("--file", type=path, help="a text a line")
    parser.add_argument("--format", choices=OUTPUT_FORMATS, default="jsonl")
    parser.add_argument("--aggregation-strategy", default="word", metavar="NAME")
    parser.add_argument("--decoder", choices=("viterbi", "argmax"), default="viterbi")
    arguments = parser.parse_args()
    if bool(arguments.texts) == bool(arguments.file):
        parser.error('give texts, or --file, or "-" for standard input')

    def work() -> None:
        from flaxner.inference.printing import print_answers

        print_answers(arguments)

    return parser.run(work, may_be_cut=True)


if __name__ == "__main__":
    sys.exit(main())
