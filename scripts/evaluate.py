"""Score any BERT token classifier on any corpus: `python scripts/evaluate.py --help`."""

import sys

from flaxner.config.command_line import Parser
from flaxner.evaluation.command_line import add_arguments, run


def main() -> int:
    parser = Parser(prog="evaluate.py", description=__doc__)
    add_arguments(parser)
    arguments = parser.parse_args()
    return parser.run(lambda: run(parser, arguments))


if __name__ == "__main__":
    sys.exit(main())
