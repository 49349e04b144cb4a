"""The flags of `scripts/evaluate.py`, and what it does."""

from __future__ import annotations

import argparse

from flaxner.config.command_line import Parser, add_settings, path
from flaxner.config.data import CONTEXTS
from flaxner.data.readers import READING, ReadOptions


def add_arguments(parser: Parser) -> None:
    """The flags."""
    parser.add_argument("--model", type=path, required=True, help="folder or Hub name")
    parser.add_argument("--file", type=path, help="corpus file")
    parser.add_argument("--dataset", type=path, help="corpus on the Hub")
    parser.add_argument("--split", default="test", help="of the dataset (default: test)")
    parser.add_argument(
        "--decoder",
        choices=("crf", "viterbi", "argmax"),
        help="how words are read (default: crf of a model that has one, else argmax)",
    )
    parser.add_argument("--max-length", type=int, help="of a window (default: that of training)")
    parser.add_argument(
        "--context", choices=CONTEXTS, help="what a word sees (default: what it saw in training)"
    )
    parser.add_argument("--output-dir", type=path, help="for results.json and predictions.conll")
    parser.add_argument(
        "--same-type",
        dest="same_types",
        nargs="*",
        metavar="MODEL=CORPUS",
        help="types that are the same under other names (default: synonyms that leave no doubt)",
    )
    add_settings(parser, READING, several=False)


def run(parser: Parser, arguments: argparse.Namespace) -> None:
    """Score, write what was asked for, print the table.

    Raises:
      ValueError: whatever does not fit, see `evaluate`.
    """
    from flaxner import terminal
    from flaxner.evaluation.classifier_scores import evaluate
    from flaxner.evaluation.table import score_table

    given = dict(vars(arguments))
    if given["same_types"] is not None:
        given["same_types"] = parser.pairs("--same-type", given["same_types"])
    reading = {name: given.pop(name) for name in READING if name in given}
    result = evaluate(**given, options=ReadOptions(**reading))
    table = score_table(given["file"] or given["dataset"], result.report.to_dict())
    terminal.console().print(table, *result.lines(), sep="\n", highlight=False)
