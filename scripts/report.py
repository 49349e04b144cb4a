"""Report on runs: curves, scores, errors, calibration: `python scripts/report.py --help`."""

import sys

from flaxner.commands.report import main

if __name__ == "__main__":
    sys.exit(main())
