"""Find wrong labels in a corpus: `python scripts/audit.py --help`."""

import sys

from flaxner.commands.audit import main

if __name__ == "__main__":
    sys.exit(main())
