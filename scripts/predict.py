"""Find entities in texts, a file or standard input: `python scripts/predict.py --help`."""

import sys

from flaxner.commands.predict import main

if __name__ == "__main__":
    sys.exit(main())
