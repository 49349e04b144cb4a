"""Checkpoint -> PyTorch folder -> Hub: `python scripts/convert_and_push.py --help`."""

import sys

from flaxner.config.command_line import Parser, path


def main() -> int:
    parser = Parser(prog="convert_and_push.py", description=__doc__)
    parser.add_argument("run_dir", type=path, help="output folder of train.py")
    parser.add_argument("--step", type=int, help="checkpoint to convert (default: the best)")
    parser.add_argument("--output-dir", type=path, help="folder to write (default: RUN_DIR/hub)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--verify", action="store_true", help="compare logits with PyTorch")
    onnx = "write onnx/model.onnx and compare; int8: onnx/model_quantized.onnx, too"
    parser.add_switch("--onnx", ("float32", "int8"), help=onnx)
    parser.add_argument("--license", help="of the model, for its card: the Hub's name of it")
    parser.add_argument("--language", help="for the card: ISO 639 codes, separated by commas")
    parser.add_argument("--new-card", action="store_true", help="replace an edited model card")
    parser.add_argument("--push-to-hub", metavar="USER/NAME", help="upload the folder")
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument("--revision", help="branch to push to (default: main)")
    parser.add_argument("--dry-run", action="store_true", help="show what would be pushed")
    parser.add_argument("--force", action="store_true", help="push a model without scores")
    given = vars(parser.parse_args())

    def work() -> None:
        from flaxner.publishing.push import convert_and_push

        for line in convert_and_push(**given):
            print(line, flush=True)

    return parser.run(work)


if __name__ == "__main__":
    sys.exit(main())
