"""Export a model as a program that needs no model code, and report what that costs."""

from __future__ import annotations

import json
from collections.abc import Sequence

from flaxner.config.command_line import Parser, add_settings, path
from flaxner.data.readers import READING, ReadOptions
from flaxner.models.graph_weights import STATIC


def parser(prog: str = "export.py") -> Parser:
    """Return the command's parser."""
    flags = Parser(
        prog=prog, description="Export a model for serving, and report what the export costs."
    )
    flags.add_argument(
        "--model", type=path, required=True, help="model to export: folder or Hub name"
    )
    flags.add_argument(
        "--output-dir",
        type=path,
        required=True,
        help="folder to write, for flaxner.load_exported",
    )
    flags.add_argument(
        "--weights",
        choices=("float32", "bfloat16", "int8", STATIC),
        default="float32",
        help="format of the stored weights; int8-static is the fastest for many texts, but needs "
        "sentences to calibrate its scales (default: float32)",
    )
    flags.add_argument(
        "--engine",
        choices=("jax", "onnx"),
        default="jax",
        help="engine to export for: JAX anywhere, or ONNX Runtime on CPUs (default: jax)",
    )
    flags.add_argument(
        "--max-f1-loss",
        type=float,
        metavar="X",
        help="write nothing if F1 on the corpus drops by more than this, such as 0.005",
    )
    flags.add_argument(
        "--file", type=path, help="corpus file on which to measure F1 before and after"
    )
    flags.add_argument("--dataset", type=path, help="corpus on the Hub, used like --file")
    flags.add_argument("--split", help="split of the data set (default: test)")
    flags.add_argument(
        "--calibration-file", type=path, help="corpus file on which to calibrate int8-static"
    )
    flags.add_argument(
        "--calibration-split",
        help="split of the data set to calibrate on, without --calibration-file (default: "
        "validation)",
    )
    add_settings(flags, READING, several=False)
    return flags


def main(arguments: Sequence[str] | None = None, prog: str = "export.py") -> int:
    """Export the model; print one JSON object."""
    flags = parser(prog)
    given = vars(flags.parse_args(arguments))
    reading = {name: given.pop(name) for name in READING if name in given}

    def work() -> None:
        from flaxner.publishing.serving_export import export_model

        print(json.dumps(export_model(**given, options=ReadOptions(**reading))))

    return flags.run(work)
