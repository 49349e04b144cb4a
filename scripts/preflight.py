"""Will it fit, how fast at best, at what cost: `python scripts/preflight.py --help`."""

import os
import sys

# Before JAX is imported: this program compiles for chips, it never asks for one.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from flaxner.aot.command_line import main

if __name__ == "__main__":
    sys.exit(main())
