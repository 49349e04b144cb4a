"""Fine-tune an encoder for named entity recognition: `python scripts/train.py --help`."""

import sys

from flaxner.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
