"""`python -m flaxner` is `flaxner`."""

import sys

from flaxner.commands.console import main

if __name__ == "__main__":
    sys.exit(main())
