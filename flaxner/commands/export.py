"""A model -> a program that needs no model code, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from flaxner.config.command_line import Parser, add_settings, path
from flaxner.data.readers import READING, ReadOptions
from flaxner.models.graph_weights import STATIC


def parser(prog: str = "export.py") -> Parser:
    """The flags."""
    flags = Parser(prog=prog, description="Export a model for serving, and say what it costs.")
    flags.add_argument("--model", type=path, required=True, help="folder or Hub name")
    flags.add_argument(
        "--output-dir", type=path, required=True, help="folder for flaxner.load_exported"
    )
    flags.add_argument(
        "--weights",
        choices=("float32", "bfloat16", "int8", STATIC),
        default="float32",
        help="how they are stored; int8-static is the quickest for many texts, and needs sentences "
        "to find its scales on",
    )
    flags.add_argument(
        "--engine",
        choices=("jax", "onnx"),
        default="jax",
        help="what will run it: JAX anywhere, or ONNX Runtime on CPUs",
    )
    flags.add_argument(
        "--max-f1-loss",
        type=float,
        metavar="X",
        help="write nothing if F1 on the corpus falls by more, 0.005 say",
    )
    flags.add_argument(
        "--file", type=path, help="corpus file: F1 before and after is measured on it"
    )
    flags.add_argument("--dataset", type=path, help="the same of a corpus on the Hub")
    flags.add_argument("--split", help="of the dataset (default: test)")
    flags.add_argument(
        "--calibration-file", type=path, help="corpus file that int8-static takes its scales from"
    )
    flags.add_argument(
        "--calibration-split",
        help="split of the dataset for that where no such file is named (default: validation)",
    )
    add_settings(flags, READING, several=False)
    return flags


def main(arguments: Sequence[str] | None = None, prog: str = "export.py") -> int:
    """Export; one JSON object on standard output."""
    flags = parser(prog)
    given = vars(flags.parse_args(arguments))
    reading = {name: given.pop(name) for name in READING if name in given}

    def work() -> None:
        from flaxner.publishing.serving_export import export_model

        print(json.dumps(export_model(**given, options=ReadOptions(**reading))))

    return flags.run(work)
