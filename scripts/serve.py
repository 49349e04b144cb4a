"""Serve models over HTTP, with a page to try them: `python scripts/serve.py --help`."""

import sys

from flaxner.commands.serve import main

if __name__ == "__main__":
    sys.exit(main())
