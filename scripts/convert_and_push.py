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
    parser.add_argument("--private", action="store_true", help="of the repository")
    parser.add_argument("--revision", help="branch to push to (default: main)")
    parser.add_argument("--dry-run", action="store_true", help="show what would be pushed")
    parser.add_argument("--force", action="store_true", help="push a model without scores")
    given = parser.parse_args()
    from flaxner import conversion, hub, publishing

    try:
        options = {name: getattr(given, name) for name in ("output_dir", "step", "verify", "dtype")}
        made = conversion.convert(given.run_dir, name=given.push_to_hub, **options)
        print(f"step {made.step} -> {made.folder}")
        if made.difference is not None:
            print(f"PyTorch's logits equal ours: largest difference {made.difference:.1e}")
        if given.dry_run:
            print(publishing.describe(made.folder))
        elif (name := given.push_to_hub) is not None:
            publishing.require_scores(made.folder, force=given.force)
            print(
                hub.push_folder(made.folder, name, private=given.private, revision=given.revision)
            )
    except ValueError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
