"""Measure flaxner side by side with PyTorch: `python scripts/benchmark.py train --help`."""

import sys

from flaxner.commands.benchmark import main

if __name__ == "__main__":
    sys.exit(main())
