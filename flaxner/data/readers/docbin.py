"""Read spaCy's DocBin (.spacy) with spaCy. The only module that imports it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flaxner.data.readers.source import BadCorpus, Notes, Raw, ReadOptions, excerpt, local_file
from flaxner.data.readers.spacy_json import CROSSED, IN_GROUPS, PARTLY, UNANNOTATED
from flaxner.data.readers.spans import apart
from flaxner.data.readers.values import trimmed
from flaxner.data.tags import Span, spans_to_tags

MISSING = 0  # spaCy's code for a word without entity annotation


def detect(path: Path, head: str) -> bool:
    """Whether a file has the suffix .spacy."""
    return path.suffix.lower() == ".spacy"


def read(path: Path, options: ReadOptions, notes: Notes) -> Iterator[Raw]:
    """Yield the annotated sentences of a DocBin; a document without sentence marks is one sentence.

    A document with an entity that crosses a sentence boundary also becomes one sentence. Such
    documents are counted, as are those without entity annotation, which are left out. The "line"
    in a message is the number of the document.

    Raises:
      ValueError: spaCy is not installed, the file is damaged, or spans overlap in the requested
        span group.
    """
    try:
        import spacy
        from spacy.tokens import DocBin
    except ImportError:
        message = "a DocBin requires spaCy, which is not installed: pip install 'spacy>=3.7'"
        raise BadCorpus(path, 1, message) from None
    number = 0
    try:  # documents are decoded one by one, and their words only when accessed
        documents = DocBin().from_disk(local_file(path)).get_docs(spacy.blank("xx").vocab)
        for number, document in enumerate(documents):
            yield from _sentences(path, document, number, options, notes)
    except BadCorpus:
        raise
    except Exception as error:  # a damaged file raises errors of spaCy, msgpack or zlib
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadCorpus(path, number + 1, f"not a readable DocBin: {reason}") from None


def _sentences(
    path: Path, document: Any, number: int, options: ReadOptions, notes: Notes
) -> list[Raw]:
    group = options.spans_column
    entities = _entities(document, group, notes)
    if entities is None:
        return []
    parts = list(document.sents) if document.has_annotation("SENT_START") else [document[:]]
    if not all(any(p.start <= e.start and e.end <= p.end for p in parts) for e in entities):
        notes.count(CROSSED)
        parts = [document[:]]
    sentences = []
    for sentence in parts:
        tokens = [token for token in sentence if not token.is_space]
        if group is None and any(token.ent_iob == MISSING for token in tokens):
            notes.count(PARTLY)
            continue
        place = {token.i: at for at, token in enumerate(tokens)}
        spans: list[Span] = []
        for entity in entities:
            inside = [place[token.i] for token in entity if token.i in place]
            if inside:
                spans.append(Span(inside[0], inside[-1] + 1, trimmed(entity.label_) or "ENTITY"))
        if tokens:
            words = tuple(token.text for token in tokens)
            if group is not None:
                texts = {span: " ".join(words[span.start : span.end]) for span in spans}
                bad = functools.partial(BadCorpus, path, number + 1)
                spans = apart(texts, options.span_policy, notes, bad)
            sentences.append(Raw(words, spans_to_tags(spans, len(words)), number, number + 1))
    return sentences


def _entities(document: Any, group: str | None, notes: Notes) -> list[Any] | None:
    """Return a document's entities, or the spans of a group; None if it is not annotated."""
    if group is not None:
        if group not in document.spans:
            notes.count(f"documents without the span group {excerpt(group)} are left out")
            return None
        return list(document.spans[group])
    if not document.ents and any(len(spans) for spans in document.spans.values()):
        notes.count(IN_GROUPS)
        return None
    # In annotated text every word is O, B or I.
    if not any(token.ent_iob != MISSING for token in document):
        notes.count(UNANNOTATED)
        return None
    return list(document.ents)
