"""Test whether two runs differ by more than chance: `python scripts/compare_runs.py --help`."""

import sys

from flaxner.commands.compare import main

if __name__ == "__main__":
    sys.exit(main())
