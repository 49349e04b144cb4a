"""Corpora that look like something else: sentences, words or entities divided in a wrong way."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from flaxner.data.tags import Pair, parse_tag
from flaxner.wording import number_of

SINGLE = 10  # sentences from which on it is odd if each is a single word
UNDIVIDED = 1000  # words from which on a sentence is suspected to be several
FEWEST = 10  # distinct pieces, or adjacent entities, needed for a judgement
ADJACENT = 0.1  # fraction of one-word entities that rarely follow another of their type
# How tokenizers mark pieces of words or, as SentencePiece and byte-level ones do, their beginnings;
# and the fraction of the distinct words of a corpus in pieces that has such a mark, at the least.
_MARKS = (
    (re.compile(r"##\w"), 0.01),
    (re.compile(r".*\w@@\Z"), 0.01),
    (re.compile("\u2581"), 0.2),
    (re.compile("\u0120"), 0.2),  # also a capital letter in Maltese
)


def undivided(words: int, line: int, sentences: int, format_name: str) -> list[str]:
    """Return a note if sentence boundaries seem to be missing, or to be between all words.

    Args:
      words: number of words of the longest sentence.
      line: where it begins.
      sentences: number of sentences.
      format_name: name of the reader.
    """
    if words == 1 and sentences >= SINGLE:
        what = f"each of the {sentences:,} sentences is a single word: words seem to be separated "
        return [what + "as sentences should be"]
    if words < UNDIVIDED:
        return []
    what = f"the sentence that begins at line {line} has {words:,} words"
    if sentences == 1:
        what = f"the whole corpus is one sentence of {words:,} words, so an epoch is one step"
    missing = ": the blank lines between sentences may be missing"
    return [what + missing if format_name == "conll" else what]


def in_pieces(words: Collection[str]) -> list[str]:
    """Return a note if the words seem to be a tokenizer's pieces of words.

    Args:
      words: the distinct words of a corpus.
    """
    for pattern, least in _MARKS:
        marked = [word for word in words if pattern.match(word)]
        if len(marked) >= max(FEWEST, least * len(words)):
            return [
                f"the words seem to be a tokenizer's pieces of words ({marked[0]!r}, and "
                f"{len(marked) - 1:,} more with such a mark), but are read as words: join them "
                "into words with the tag of their first piece"
            ]
    return []


def taken_apart(pairs: Mapping[Pair, int]) -> list[str]:
    """Return a note if each word of an entity seems to have been tagged as an entity of its own.

    Args:
      pairs: counts of adjacent tags, see `tag_pairs`.
    """
    entities = adjacent = 0
    for tags, count in pairs.items():
        (before, kind), (prefix, other) = (parse_tag(tag) or ("O", "") for tag in tags)
        if prefix == "O":
            continue
        if prefix in "IM" or (prefix in "EL" and before in "BIM"):
            return []  # an entity of several words
        entities += count
        adjacent += count * (before != "O" and kind == other)
    if adjacent < max(FEWEST, ADJACENT * entities):
        return []
    return [
        f"no entity has several words, but {number_of(adjacent, 'words', entities)} with a tag "
        "follow another of the same type: entities of several words may have been taken apart (a "
        "type like B_cell is read as the tag B- of the type cell)"
    ]
