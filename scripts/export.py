"""Export a model for serving, and report what it costs: `python scripts/export.py --help`."""

import sys

from flaxner.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
