"""F1 over all entities, and separately for those that training has and has not seen."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from typing import Any

from flaxner.data.corpus import Corpus, Sentence
from flaxner.data.tags import tags_to_spans
from flaxner.evaluation.metrics import score

Tags = Sequence[Sequence[str]]
Surface = tuple[str, ...]


def surfaces(sentences: Sequence[Sentence]) -> set[Surface]:
    """Return the names in a corpus, as tuples of words exactly as written."""
    return {
        sentence.words[begin:end]
        for sentence in sentences
        for begin, end, _ in tags_to_spans(sentence.tags or ())
    }


def digest(names: Collection[Surface]) -> str:
    """Return a digest of names, to recognise them later without storing them."""
    return hashlib.sha256(repr(sorted(names)).encode("utf-8", "surrogatepass")).hexdigest()


def split_scores(corpus: Corpus, predicted: Tags, known: set[Surface]) -> dict[str, Any]:
    """Return seqeval's scores for all entities, for those whose name training has, and for others.

    Gold and predicted entities are divided by the same rule, so each is in exactly one part.

    Args:
      corpus: corpus with gold tags.
      predicted: a tag for every word.
      known: names in the training corpus.
    """
    gold = [list(sentence.tags or ()) for sentence in corpus]
    parts: dict[str, Callable[[Surface], bool]] = {
        "all": lambda name: True,
        "seen": lambda name: name in known,
        "unseen": lambda name: name not in known,
    }
    out: dict[str, Any] = {}
    for part, keep in parts.items():
        left = [_only(corpus.sentences, tags, keep) for tags in (gold, predicted)]
        report = score(left[0], left[1], words_in_corpus=corpus.words)
        out[part] = {
            "precision": report.overall_precision,
            "recall": report.overall_recall,
            "f1": report.overall_f1,
            "entities": sum(len(tags_to_spans(tags)) for tags in left[0]),
        }
    return out


def _only(
    sentences: Sequence[Sentence], all_tags: Tags, keep: Callable[[Surface], bool]
) -> list[list[str]]:
    """Return the tags without the entities for which `keep` is false."""
    left = []
    for sentence, tags in zip(sentences, all_tags, strict=True):
        row = ["O"] * len(tags)
        for begin, end, _ in tags_to_spans(tags):
            if keep(sentence.words[begin:end]):
                row[begin:end] = tags[begin:end]
        left.append(row)
    return left
