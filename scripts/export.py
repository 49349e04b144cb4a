"""Export a model for serving, and say what it costs: `python scripts/export.py --help`."""

import json
import sys

from flaxner.config.command_line import Parser, add_settings, path
from flaxner.data.readers import READING, ReadOptions


def main() -> int:
    parser = Parser(prog="export.py", description=__doc__)
    parser.add_argument("--model", type=path, required=True, help="folder or Hub name")
    parser.add_argument(
        "--output-dir", type=path, required=True, help="folder for flaxner.load_exported"
    )
    parser.add_argument("--weights", choices=("float32", "bfloat16", "int8"), default="float32")
    parser.add_argument(
        "--file", type=path, help="corpus file: F1 before and after is measured on it"
    )
    parser.add_argument("--dataset", type=path, help="the same of a corpus on the Hub")
    parser.add_argument("--split", default="test", help="of the dataset (default: test)")
    add_settings(parser, READING, several=False)
    given = vars(parser.parse_args())
    reading = {name: given.pop(name) for name in READING if name in given}

    def work() -> None:
        from flaxner.publishing.serving_export import export_model

        print(json.dumps(export_model(**given, options=ReadOptions(**reading))))

    return parser.run(work)


if __name__ == "__main__":
    sys.exit(main())
