"""Readers of corpora -> sentences of words and IOB2 tags."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path


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


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A read corpus.

    Attributes:
      sentences: in the order of the file.
      source: where it was read from, for messages.
      scheme: the scheme that was found in it; the sentences are in IOB2.
      repaired: tags that were no legal sequence in that scheme and were read as conlleval does.
    """

    sentences: list[Sentence]
    source: str
    scheme: str
    repaired: int

    def __len__(self) -> int:
        return len(self.sentences)

    def __iter__(self) -> Iterator[Sentence]:
        return iter(self.sentences)

    @property
    def words(self) -> int:
        """Number of words."""
        return sum(len(sentence.words) for sentence in self.sentences)

    @property
    def types(self) -> tuple[str, ...]:
        """Entity types, in alphabetical order."""
        tags = {tag for sentence in self.sentences for tag in sentence.tags or ()}
        return tuple(sorted({tag[2:] for tag in tags if tag != "O"}))


def read_corpus(source: str | Path, split: str | None = None) -> Corpus:
    """Read a corpus file.

    Raises:
      ValueError: it is not there.
    """
    path = Path(source)
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ValueError(f"cannot read the corpus {path}: {error.strerror}") from error
    sentences = []
    for block in text.split("\n\n"):
        rows = [line.split() for line in block.splitlines() if line.strip()]
        if rows:
            words, tags = [row[0] for row in rows], [row[-1] for row in rows]
            sentences.append(Sentence(tuple(words), tuple(tags)))
    return Corpus(sentences, str(path), "IOB2", 0)
