"""Find the entities in texts and print them."""

from __future__ import annotations

from collections.abc import Sequence

from flaxner.config.command_line import Parser, path
from flaxner.inference.printing import OUTPUT_FORMATS


def parser(prog: str = "predict.py") -> Parser:
    """Return the command's parser."""
    flags = Parser(
        prog=prog,
        description='Find the entities in texts: TEXT ..., --file F, or "-" for standard input.',
    )
    flags.add_argument(
        "texts", nargs="*", metavar="TEXT", help='texts, or "-" to read one per line from stdin'
    )
    flags.add_argument("--model", type=path, required=True, help="model: folder or Hub name")
    flags.add_argument("--file", type=path, help="file with one text per line")
    flags.add_argument(
        "--format", choices=OUTPUT_FORMATS, default="jsonl", help="output format (default: jsonl)"
    )
    flags.add_argument(
        "--aggregation-strategy",
        default="word",
        metavar="NAME",
        help="how tokens are merged into entities: none, simple, first, average, max or word "
        "(default: word)",
    )
    flags.add_argument(
        "--decoder",
        choices=("crf", "viterbi", "argmax"),
        help="how labels are decoded (default: crf if the model has one, else viterbi)",
    )
    flags.add_argument(
        "--engine",
        choices=("auto", "jax", "onnx"),
        help="inference engine: JAX, or ONNX Runtime on the CPU; an exported folder has its own "
        "(default: FLAXNER_ENGINE if set, else auto)",
    )
    return flags


def main(arguments: Sequence[str] | None = None, prog: str = "predict.py") -> int:
    """Print the entities of each text, in order."""
    flags = parser(prog)
    given = flags.parse_args(arguments)
    if bool(given.texts) == bool(given.file):
        flags.error('give either texts, or one --file, or "-" for standard input')
    if given.format == "conll" and given.aggregation_strategy != "word":
        flags.error(
            "--format conll prints the tag of every word: it takes no --aggregation-strategy"
        )

    def work() -> None:
        from flaxner.inference.printing import print_answers

        print_answers(given)

    return flags.run(work, may_be_cut=True)
