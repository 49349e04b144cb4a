"""Convert a checkpoint to PyTorch and push it: `python scripts/convert_and_push.py --help`."""

import sys

from flaxner.commands.convert import main

if __name__ == "__main__":
    sys.exit(main())
