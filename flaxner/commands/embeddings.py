"""Static word vectors against contextual ones."""

from __future__ import annotations

from collections.abc import Sequence

from flaxner.embeddings.settings import parse_settings, parser
from flaxner.terminal import guarded

__all__ = ["main", "parser"]


def main(arguments: Sequence[str] | None = None, prog: str = "compare_embeddings.py") -> int:
    """Compare, and write the page."""
    settings = parse_settings(arguments, prog)  # before the heavy imports: answered at once

    def work() -> None:
        from flaxner.embeddings.study import run

        run(settings)

    return guarded(prog, work)
