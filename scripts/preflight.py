"""Will it fit, how fast can it be, what does it cost: `python scripts/preflight.py --help`."""

import sys

from flaxner.commands.preflight import main

if __name__ == "__main__":
    sys.exit(main())
