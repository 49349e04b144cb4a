"""Export a model for serving, and say what it costs: `python scripts/export.py --help`."""

import sys

from flaxner.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
