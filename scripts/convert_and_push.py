"""Checkpoint -> PyTorch folder -> Hub: `python scripts/convert_and_push.py --help`."""

import sys

from flaxner.commands.convert import main

if __name__ == "__main__":
    sys.exit(main())
