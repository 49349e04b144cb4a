"""Compare static word vectors with contextual ones."""

from __future__ import annotations

from collections.abc import Sequence

from flaxner.embeddings.settings import parse_settings, parser
from flaxner.terminal import guarded

__all__ = ["main", "parser"]


def main(arguments: Sequence[str] | None = None, prog: str = "compare_embeddings.py") -> int:
    """Run the comparison and write its page."""
    settings = parse_settings(arguments, prog)  # before the heavy imports, so that errors are quick

    def work() -> None:
        from flaxner.embeddings.study import run

        run(settings)

    return guarded(prog, work)
