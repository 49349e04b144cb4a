"""Compare static word vectors with BERT's: `python scripts/compare_embeddings.py --help`."""

import sys

from flaxner.commands.embeddings import main

if __name__ == "__main__":
    sys.exit(main())
