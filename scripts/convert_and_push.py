"""Checkpoint -> PyTorch folder -> Hub: `python scripts/convert_and_push.py --help`."""

import sys

from flaxner.config import Parser


def main() -> int:
    parser = Parser(prog="convert_and_push.py", description=__doc__)
    parser.add_argument("run_dir", help="output folder of train.py")
    parser.add_argument("--step", type=int, help="checkpoint to convert (default: the best)")
    parser.add_argument("--output-dir", help="folder to write (default: RUN_DIR/hub)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--verify", action="store_true", help="compare logits with PyTorch")
    parser.add_argument("--push-to-hub", metavar="USER/NAME", help="upload the folder")
    parser.add_argument("--private", action="store_true", help="make the repository private")
    parser.add_argument("--revision", help="branch to push to (default: main)")
    parser.add_argument("--dry-run", action="store_true", help="show what would be pushed")
    parser.add_argument("--force", action="store_true", help="push a model without scores")
    given = parser.parse_args()
    from flaxner import conversion, publishing

    how = {name: getattr(given, name) for name in ("output_dir", "step", "verify", "dtype")}
    where = {name: getattr(given, name) for name in ("private", "revision", "force")}
    try:
        made = conversion.convert(given.run_dir, name=given.push_to_hub, **how)
        print(f"step {made.step} -> {made.folder}")
        if made.difference is not None:
            print(f"PyTorch's logits equal ours: largest difference {made.difference:.1e}")
        if given.dry_run:
            print(publishing.describe(made.folder))
        elif given.push_to_hub is not None:
            print(publishing.push_to_hub(made.folder, given.push_to_hub, **where))
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
