"""Convert a checkpoint to a PyTorch folder and push it to the Hub."""

from __future__ import annotations

from collections.abc import Sequence

from flaxner.config.command_line import Parser, path


def parser(prog: str = "convert_and_push.py") -> Parser:
    """Return the command's parser."""
    flags = Parser(
        prog=prog,
        description="Convert a run's checkpoint to a PyTorch folder and, if requested, push it to "
        "the Hub.",
    )
    flags.add_argument("run_dir", type=path, help="output folder of train.py")
    flags.add_argument("--step", type=int, help="checkpoint to convert (default: the best)")
    flags.add_argument("--output-dir", type=path, help="folder to write (default: RUN_DIR/hub)")
    flags.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="data type of the saved weights (default: float32)",
    )
    flags.add_argument("--verify", action="store_true", help="compare the logits with PyTorch's")
    onnx = "write onnx/model.onnx and compare it; int8: also write onnx/model_quantized.onnx"
    flags.add_switch("--onnx", ("float32", "int8"), help=onnx)
    flags.add_argument("--license", help="licence of the model, for its card, as named on the Hub")
    flags.add_argument(
        "--language", help="language of the model, for its card: ISO 639 codes, separated by commas"
    )
    flags.add_argument("--new-card", action="store_true", help="replace an edited model card")
    flags.add_argument("--push-to-hub", metavar="USER/NAME", help="upload the folder to the Hub")
    flags.add_argument("--private", action="store_true", help="make the repository private")
    flags.add_argument("--revision", help="branch to push to (default: main)")
    flags.add_argument("--dry-run", action="store_true", help="show what would be pushed")
    flags.add_argument("--force", action="store_true", help="push even a model without scores")
    return flags


def main(arguments: Sequence[str] | None = None, prog: str = "convert_and_push.py") -> int:
    """Convert the checkpoint, and push it if requested."""
    flags = parser(prog)
    given = vars(flags.parse_args(arguments))

    def work() -> None:
        from flaxner.publishing.push import convert_and_push

        for line in convert_and_push(**given):
            print(line, flush=True)

    return flags.run(work)
