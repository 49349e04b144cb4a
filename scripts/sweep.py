"""Search for the best settings with Optuna: `python scripts/sweep.py --help`."""

import sys

from flaxner.commands.sweep import main

if __name__ == "__main__":
    sys.exit(main())
