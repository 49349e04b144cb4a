"""The sentence type used throughout flaxner."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Sentence:
    """Words and their IOB2 tags, if known.

    Attributes:
      words: the words, as published.
      tags: one per word, or None.
      document: number of the document within the corpus, if known.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    document: int | None = None
