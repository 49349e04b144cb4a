"""Static word vectors against BERT's: `python scripts/compare_embeddings.py --help`."""

import sys

from flaxner.embeddings.settings import parse_settings


def main() -> int:
    settings = parse_settings()  # before the heavy imports: a wrong flag is answered at once
    from flaxner.embeddings.study import run
    from flaxner.training.stopping import RunStopped

    try:
        run(settings)
    except ValueError as error:
        print(f"compare_embeddings.py: {error}", file=sys.stderr)
        return 2
    except RunStopped as stop:
        print(f"compare_embeddings.py: {stop}", file=sys.stderr)
        return stop.code
    except KeyboardInterrupt:
        print("compare_embeddings.py: interrupted; nothing is left to resume", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
