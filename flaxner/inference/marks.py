"""Punctuation as words of its own in running text, whatever the tokenizer parts at."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def apart(
    text: str, offsets: Sequence[tuple[int, int]], words: Sequence[int | None]
) -> list[int | None]:
    """Words numbered anew, so that marks are words of their own, as in corpora.

    A token is never parted, and SentencePiece's lone "▁", which stands for nothing or for the
    very character of the token after it, belongs to that token.
    """
    numbers: list[int | None] = []
    number, word, last, reached = -1, None, "", 0
    for (start, end), own in zip(offsets, words, strict=True):
        piece = text[start:end].strip()
        if own != word or not numbers:
            number, word, last = number + 1, own, ""
        elif piece and last and start >= reached and (is_mark(piece[0]) or is_mark(last)):
            number += 1
        last, reached = piece[-1] if piece else last, end
        numbers.append(number)
    return numbers


def is_mark(character: str) -> bool:
    """Punctuation and symbols as BERT splits at them (Devlin et al. 2019)."""
    ascii_mark = character.isascii() and character.isprintable() and not character.isalnum()
    return (ascii_mark and character != " ") or unicodedata.category(character).startswith("P")
