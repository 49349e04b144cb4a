"""What all of flaxner calls a sentence."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Sentence:
    """Words and their IOB2 tags, if known.

    Attributes:
      words: the words, as published.
      tags: one a word, or None.
      document: number of the document within the corpus, if the corpus tells.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    document: int | None = None
