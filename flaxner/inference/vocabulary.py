"""What aggregation needs from a tokenizer."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np

from flaxner.inference.tokens import Reading

WORDWISE = ("first", "average", "max")  # strategies that give each word one label


class Vocabulary:
    """A tokenizer's tokens: their text, and which of them continue a word."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer, self.unknown = tokenizer, tokenizer.unk_token_id
        model = tokenizer.backend_tokenizer.model
        self.knows_words = bool(getattr(model, "continuing_subword_prefix", None))

    @functools.cached_property
    def pieces(self) -> list[str]:
        """Token id -> token."""
        size = 1 + max(self._tokenizer.get_vocab().values())
        pieces = self._tokenizer.convert_ids_to_tokens(list(range(size)))
        return [piece or "" for piece in pieces]

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Token id -> number of characters in the token."""
        return np.fromiter(map(len, self.pieces), np.int64, len(self.pieces))

    def join(self, pieces: list[str]) -> str:
        """Join tokens into text by the tokenizer's own rules."""
        return self._tokenizer.convert_tokens_to_string(pieces)

    def inside_word(self, reading: Reading, strategy: str) -> np.ndarray:
        """Whether a token continues the word of the token before it, bool (T,)."""
        tokens = reading.tokens
        if self.knows_words:
            inside = self.lengths[tokens.input_ids] != tokens.ends - tokens.starts
        else:
            if strategy in WORDWISE:
                message = "Tokenizer does not support real words, using fallback heuristic"
                warnings.warn(message, UserWarning, stacklevel=2)
            texts = np.repeat(tokens.owners, np.diff(tokens.borders)).tolist()
            inside = np.asarray(
                [
                    start > 0 and " " not in reading.texts[text][start - 1 : start + 1]
                    for text, start in zip(texts, tokens.starts.tolist(), strict=True)
                ],
                bool,
            )
        return inside & (tokens.input_ids != self.unknown)
