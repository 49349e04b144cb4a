"""spaCy's DocBin (.spacy), through spaCy. The only door to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flaxner.data.readers.source import BadCorpus, Notes, Raw, ReadOptions
from flaxner.data.tags import spans_to_tags


def detect(path: Path, head: str) -> bool:
    """By its ending."""
    return path.suffix.lower() == ".spacy"


def read(path: Path, options: ReadOptions, notes: Notes) -> Iterator[Raw]:
    """The sentences of a DocBin: those of the documents, where they are marked.

    The "line" of a message is the number of the document.

    Raises:
      ValueError: spaCy is not installed, or the file is damaged.
    """
    try:
        import spacy
        from spacy.tokens import DocBin
    except ImportError:
        message = "a DocBin is read through spaCy, which is not installed: pip install 'spacy>=3.7'"
        raise BadCorpus(path, 1, message) from None
    number = 0
    try:  # the documents are decoded one by one, and their words when they are looked at
        documents = DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab)
        for number, document in enumerate(documents):
            yield from _sentences(document, number)
    except Exception as error:  # spaCy's, msgpack's, zlib's: a damaged file raises any of them
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadCorpus(path, number + 1, f"no DocBin that can be read: {reason}") from None


def _sentences(document: Any, number: int) -> list[Raw]:
    marked = document.has_annotation("SENT_START")
    made = []
    for sentence in document.sents if marked else [document[:]]:
        tokens = [token for token in sentence if not token.is_space]
        place = {token.i: at for at, token in enumerate(tokens)}
        spans = []
        for entity in sentence.ents:
            inside = [place[token.i] for token in entity if token.i in place]
            if inside:
                spans.append((inside[0], inside[-1] + 1, entity.label_ or "ENTITY"))
        if tokens:
            words = tuple(token.text for token in tokens)
            made.append(Raw(words, spans_to_tags(spans, len(words)), number, number + 1))
    return made
