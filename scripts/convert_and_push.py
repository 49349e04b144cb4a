"""Checkpoint -> PyTorch folder -> Hub: `python scripts/convert_and_push.py --help`."""

import sys

from flaxner.config import Parser


def main() -> int:
    parser = Parser(prog="convert_and_push.py", description=__doc__)
    parser.add_argument("run_dir", help="output folder of train.py")
    parser.add_argument("--step", type=int, help="checkpoint to convert (default: the best)")
    parser.add_argument("--output-dir", help="folder to write (default: RUN_DIR/hub)")
    parser.add_argument("--verify", action="store_true", help="compare logits with PyTorch")
    arguments = parser.parse_args()
    from flaxner.conversion import convert

    try:
        made = convert(
            arguments.run_dir,
            output_dir=arguments.output_dir,
            step=arguments.step,
            verify=arguments.verify,
        )
    except ValueError as error:
        parser.error(str(error))
    print(f"step {made.step} -> {made.folder}")
    if made.difference is not None:
        print(f"PyTorch's logits equal ours: largest difference {made.difference:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
