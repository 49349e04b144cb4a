"""Static word vectors against BERT's: `python scripts/compare_embeddings.py --help`."""

import sys

from flaxner.embeddings.settings import parse_settings
from flaxner.terminal import guarded


def main() -> int:
    settings = parse_settings()  # before the heavy imports: a wrong flag is answered at once

    def work() -> None:
        from flaxner.embeddings.study import run

        run(settings)

    return guarded("compare_embeddings.py", work)


if __name__ == "__main__":
    sys.exit(main())
