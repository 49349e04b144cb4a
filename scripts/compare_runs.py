"""Do two runs differ, or only by chance? `python scripts/compare_runs.py --help`."""

import sys

from flaxner.commands.compare import main

if __name__ == "__main__":
    sys.exit(main())
