"""Checkpoint -> PyTorch folder -> Hub."""

from __future__ import annotations

from collections.abc import Sequence

from flaxner.config.command_line import Parser, path


def parser(prog: str = "convert_and_push.py") -> Parser:
    """The flags."""
    flags = Parser(prog=prog, description="A run's checkpoint -> PyTorch folder -> Hub.")
    flags.add_argument("run_dir", type=path, help="output folder of train.py")
    flags.add_argument("--step", type=int, help="checkpoint to convert (default: the best)")
    flags.add_argument("--output-dir", type=path, help="folder to write (default: RUN_DIR/hub)")
    flags.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    flags.add_argument("--verify", action="store_true", help="compare logits with PyTorch")
    onnx = "write onnx/model.onnx and compare; int8: onnx/model_quantized.onnx, too"
    flags.add_switch("--onnx", ("float32", "int8"), help=onnx)
    flags.add_argument("--license", help="of the model, for its card: the Hub's name of it")
    flags.add_argument("--language", help="for the card: ISO 639 codes, separated by commas")
    flags.add_argument("--new-card", action="store_true", help="replace an edited model card")
    flags.add_argument("--push-to-hub", metavar="USER/NAME", help="upload the folder")
    flags.add_argument("--private", action="store_true", help="make the repository private")
    flags.add_argument("--revision", help="branch to push to (default: main)")
    flags.add_argument("--dry-run", action="store_true", help="show what would be pushed")
    flags.add_argument("--force", action="store_true", help="push a model without scores")
    return flags


def main(arguments: Sequence[str] | None = None, prog: str = "convert_and_push.py") -> int:
    """Convert, and push where that is asked for."""
    flags = parser(prog)
    given = vars(flags.parse_args(arguments))

    def work() -> None:
        from flaxner.publishing.push import convert_and_push

        for line in convert_and_push(**given):
            print(line, flush=True)

    return flags.run(work)
