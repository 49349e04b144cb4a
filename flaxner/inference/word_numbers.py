"""Words of running text as corpora have them, wherever the tokenizer splits."""

from __future__ import annotations

import functools
import itertools
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

# White space in Python, which no tokenizer splits at or removes.
SEPARATORS = re.compile("[\x1c-\x1f]")
BLANK = -1  # word number of tokens that belong to no word
Offsets = Sequence[tuple[int, int]]


class Words:
    """Numbers the words of a text, given its tokens.

    A word is what the tokenizer's pre-tokenizer makes one, with two exceptions: punctuation marks
    are always words of their own (SentencePiece splits at white space only), and white space never
    is one (byte-level tokenizers make words of repeated spaces).

    Args:
      backend: a Rust tokenizer that neither truncates nor pads.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        marks, spaces = (
            len(set(backend.encode(text, add_special_tokens=False).word_ids)) > 1
            for text in ("a.", "a a")
        )
        self.splits_spaces, self._splits_words = spaces, spaces and marks
        text = "a \n\n  a"
        probe = backend.encode(text, add_special_tokens=False)
        self._makes_blanks = any(_blank(text, place) for place in probe.offsets)
        # All windows of a text need them.
        self._starts = functools.lru_cache(maxsize=1)(
            lambda text: [start for start, _ in self.ranges(text)]
        )

    def numbers(
        self, text: str, offsets: Offsets, word_ids: Sequence[int], *, cut: bool = False
    ) -> Sequence[int]:
        """Return the word number of each token in its text, BLANK where it belongs to no word.

        Args:
          text: the text.
          offsets: the tokens' characters, half-open.
          word_ids: the tokens' words according to the tokenizer.
          cut: these are the tokens of a part of the text, which may begin in the middle of it.
        """
        numbers = word_ids if self._splits_words else words_apart(text, offsets, word_ids)
        blanks = self._makes_blanks or SEPARATORS.search(text) is not None
        if blanks and any(_blank(text, place) for place in offsets):
            numbers = _without_blanks(text, offsets, numbers)
        # The tokenizer's own numbers count from the beginning of the text, blanks included.
        if cut and (blanks or numbers is not word_ids):
            named = [i for i, number in enumerate(numbers) if number != BLANK]
            # A byte-level token for the space before a word does not lie within the word.
            placed = [i for i in named if not _blank(text, offsets[i])] or named
            if placed:
                before = self._number_at(text, offsets[placed[0]]) - numbers[placed[0]]
                numbers = [number + before if number != BLANK else BLANK for number in numbers]
        return numbers

    def ranges(self, text: str) -> list[tuple[int, int]]:
        """Return the half-open character range of every word.

        Characters that the tokenizer removes belong to no word unless they stand within one.
        """
        encoding = self._backend.encode(text, add_special_tokens=False)
        places: dict[int, tuple[int, int]] = {}
        numbers = self.numbers(text, encoding.offsets, encoding.word_ids)
        for number, (start, end) in zip(numbers, encoding.offsets, strict=True):
            if number != BLANK:
                first, last = places.get(number, (start, end))
                places[number] = (min(first, start), max(last, end))
        # SentencePiece counts the space before a word in.
        inner = [trimmed(text, place) for place in places.values()]
        return [(start, end) for start, end in inner if start < end]

    def _number_at(self, text: str, place: tuple[int, int]) -> int:
        return max(bisect_right(self._starts(text), trimmed(text, place)[0]) - 1, 0)


def words_apart(text: str, offsets: Offsets, word_ids: Sequence[int]) -> list[int]:
    """Renumber words so that punctuation marks are words of their own, as in corpora.

    White space ends a word, too, if the tokenizer does not split there. A token is never split, and
    SentencePiece's lone "▁", which stands for nothing or for the very character of the token after
    it, belongs to that token.
    """
    numbers: list[int] = []
    number, word, last, reached, blank = -1, BLANK, "", 0, False
    for (start, end), own in zip(offsets, word_ids, strict=True):
        raw = text[start:end]
        piece = raw.strip()
        if own != word or not numbers or (raw[:1].isspace() and not blank and start >= reached):
            number, word, last = number + 1, own, ""
        elif piece and last and start >= reached and (is_mark(piece[0]) or is_mark(last)):
            number += 1
        last, reached, blank = piece[-1] if piece else last, end, not piece
        numbers.append(number)
    return numbers


def is_mark(character: str) -> bool:
    """Whether BERT splits at a character: punctuation and symbols (Devlin et al. 2019)."""
    ascii_mark = character.isascii() and character.isprintable() and not character.isalnum()
    return (ascii_mark and character != " ") or unicodedata.category(character).startswith("P")


def _without_blanks(text: str, offsets: Offsets, words: Sequence[int]) -> list[int]:
    """Renumber words from 0, leaving out those that are nothing but white space."""
    numbers: list[int] = []
    number = -1
    tokens = zip(words, offsets, strict=True)
    for _, run in itertools.groupby(tokens, key=lambda token: token[0]):
        places = [place for _, place in run]
        blank = all(_blank(text, place) for place in places)
        number += not blank
        numbers += [BLANK if blank else number] * len(places)
    return numbers


def _blank(text: str, place: tuple[int, int]) -> bool:
    start, end = place
    return start == end or text[start:end].isspace()


def trimmed(text: str, place: tuple[int, int]) -> tuple[int, int]:
    """Return the range without white space at its ends; of white space alone, an empty one."""
    start, end = place
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())
