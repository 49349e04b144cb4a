"""Texts -> entities on standard output."""

from __future__ import annotations

from collections.abc import Sequence

from flaxner.config.command_line import Parser, path
from flaxner.inference.printing import OUTPUT_FORMATS


def parser(prog: str = "predict.py") -> Parser:
    """The flags."""
    flags = Parser(
        prog=prog,
        description='Entities of texts: TEXT ..., --file F, or "-" for standard input.',
    )
    flags.add_argument("texts", nargs="*", metavar="TEXT", help='texts, or "-": lines of stdin')
    flags.add_argument("--model", type=path, required=True, help="folder or Hub name")
    flags.add_argument("--file", type=path, help="a text a line")
    flags.add_argument("--format", choices=OUTPUT_FORMATS, default="jsonl")
    flags.add_argument("--aggregation-strategy", default="word", metavar="NAME")
    flags.add_argument(
        "--decoder",
        choices=("crf", "viterbi", "argmax"),
        help="how words are read (default: crf of a model that has one, else viterbi)",
    )
    flags.add_argument(
        "--engine",
        choices=("auto", "jax", "onnx"),
        help="what computes: JAX, or ONNX Runtime on the CPU; an exported folder has its own",
    )
    return flags


def main(arguments: Sequence[str] | None = None, prog: str = "predict.py") -> int:
    """Answer the texts in order."""
    flags = parser(prog)
    given = flags.parse_args(arguments)
    if bool(given.texts) == bool(given.file):
        flags.error('give texts, or --file, or "-" for standard input')
    if given.format == "conll" and given.aggregation_strategy != "word":
        flags.error(
            "--format conll prints the tag of every word: --aggregation-strategy is not its"
        )

    def work() -> None:
        from flaxner.inference.printing import print_answers

        print_answers(given)

    return flags.run(work, may_be_cut=True)
