"""Score any token classifier on any corpus: `python scripts/evaluate.py --help`."""

import sys

from flaxner.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
