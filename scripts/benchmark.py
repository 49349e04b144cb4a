"""Measure flaxner side by side with torch: `python scripts/benchmark.py train --help`."""

import importlib
import sys

from flaxner.config.command_line import Parser

# subcommand -> (its module: add_arguments(parser), run(arguments) -> exit code; one line of help)
SUBCOMMANDS = {
    "pipeline": ("flaxner.benchmark.pipeline", "texts a second, time to the first answer"),
    "train": ("flaxner.benchmark.train", "training steps a second, memory, compile time"),
    "quality": ("flaxner.benchmark.quality", "F1 at equal settings, seed by seed"),
}


def main() -> int:
    parser = Parser(prog="benchmark.py", description="One JSON object a line on standard output.")
    subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    chosen = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    for name, (module, help_) in SUBCOMMANDS.items():
        subparser = subparsers.add_parser(name, prog=f"benchmark.py {name}", help=help_)
        if name == chosen:
            importlib.import_module(module).add_arguments(subparser)
    arguments = parser.parse_args()

    def work() -> int:
        return importlib.import_module(SUBCOMMANDS[arguments.subcommand][0]).run(arguments)

    return parser.run(work)


if __name__ == "__main__":
    sys.exit(main())
