"""Tokenises texts, keeping each token's place in the text, and cuts windows for the model.

This module is for running text; for corpora, where words are given, see `data.segments`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from flaxner.data.segments import windows
from flaxner.data.tokenizer import plain_backend, special_tokens
from flaxner.inference.word_numbers import Words

Text = str | Sequence[str]  # running text, or words


class Tokens(NamedTuple):
    """The concatenated tokens of many sequences, without [CLS] and [SEP].

    A sequence is a text, or a window of it if windows are answered separately.

    Attributes:
      input_ids: token ids (T,).
      starts, ends: characters of the text that the token came from, half-open (T,).
      words: number of the token's word in the text, `word_numbers.BLANK` if it has none (T,).
      numbers: position of the token in its sequence, counting [CLS] (T,).
      source: position in `Reading.input_ids` that has the token's logits (T,).
      borders: start of each sequence, and the end of the last (S + 1,).
      owners: the text that each sequence belongs to (S,), ascending.
    """

    input_ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    words: np.ndarray
    numbers: np.ndarray
    source: np.ndarray
    borders: np.ndarray
    owners: np.ndarray

    @property
    def first(self) -> np.ndarray:
        """Whether each token is the first of its sequence, bool (T,)."""
        first = np.zeros(len(self.input_ids), bool)
        begins = self.borders[:-1][np.diff(self.borders) > 0]
        first[begins] = True
        return first


class Reading(NamedTuple):
    """Texts prepared for the model.

    Attributes:
      texts: the texts; lists of words are joined by the delimiter.
      tokens: the tokens that answers are made from.
      input_ids: the model's input: concatenated segments with [CLS] and [SEP].
      starts: start of each segment, and the end of the last.
      longest: number of tokens of the longest text that is read in windows; 0 if there is none.
    """

    texts: list[str]
    tokens: Tokens
    input_ids: np.ndarray
    starts: np.ndarray
    longest: int


class Reader:
    """Tokenises texts like the pipeline of `transformers`; thread-safe.

    Args:
      tokenizer: a fast tokenizer of `transformers`.
      limit: length of the longest segment that the model accepts, special tokens included.
      truncation: cut longer texts instead of reading them in our own windows.
      stride: read longer texts in windows that overlap by this many tokens, and answer each
        window separately.
    """

    def __init__(
        self, tokenizer: Any, limit: int, *, truncation: bool = False, stride: int | None = None
    ) -> None:
        self.limit, self.windowed = limit, not truncation and stride is None
        self._backend = plain_backend(tokenizer)
        self._backend.encode_special_tokens = bool(getattr(tokenizer, "split_special_tokens", 0))
        self._head, self._tail = special_tokens(self._backend, tokenizer.cls_token_id)
        self.check_stride(stride)
        whole = self._backend  # a copy costs as much memory as the vocabulary
        if not self.windowed:
            self._backend = plain_backend(tokenizer)
            self._backend.encode_special_tokens = whole.encode_special_tokens
            direction = getattr(tokenizer, "truncation_side", "right")
            self._backend.enable_truncation(limit, stride=stride or 0, direction=direction)
        self._words = Words(whole)
        self._overflow = stride is not None

    def check_stride(self, stride: int | None) -> None:
        """Raise ValueError for windows whose overlap would leave no room for new tokens."""
        room = self.limit - len(self._head) - len(self._tail)
        if stride is not None and not 0 <= stride < room:
            raise ValueError(
                f"stride must be at least 0 and less than the {room} tokens of text that the model "
                f"reads at once: got {stride}"
            )

    def read(self, texts: Sequence[Text], *, split: bool = False, delimiter: str = " ") -> Reading:
        """Tokenise texts, or lists of words if `split`."""
        encodings = self._backend.encode_batch(list(texts), is_pretokenized=split)
        pieces, owners = encodings, list(range(len(texts)))
        if self._overflow:
            counts = [1 + len(encoding.overflowing) for encoding in encodings]
            owners = np.repeat(np.arange(len(texts)), counts).tolist()
            pieces = [piece for one in encodings for piece in (one, *one.overflowing)]
        if len(pieces) == 1 and not split and not (self.windowed and len(pieces[0]) > self.limit):
            inner = slice(len(self._head), len(pieces[0]) - len(self._tail))
            return _alone(str(texts[0]), pieces[0], inner, self._words)
        builder = _Builder(len(self._head), len(self._tail), texts, self._words)
        longest = 0
        for piece, owner in zip(pieces, owners, strict=True):
            ids = piece.ids
            shift = _word_starts(texts[owner], delimiter) if split else None
            if self.windowed and len(ids) > self.limit:
                builder.add_windows(piece, owner, shift, self._windows(piece, texts[owner]))
                longest = max(longest, len(ids))
            else:
                builder.add(piece, owner, shift)
        joined = [delimiter.join(text) if split else str(text) for text in texts]
        return builder.reading(joined, longest)

    def words(self, text: str) -> list[str]:
        """Split a text into words; punctuation marks and most ideographs are words of their own."""
        return [text[start:end] for start, end in self._words.ranges(text)]

    def _windows(self, piece: Any, text: Text) -> list[tuple[list[int], slice]]:
        """Return the segments of a long text, with the tokens in each that it answers for."""
        head, tail = len(self._head), len(self._tail)
        ids = piece.ids[head : len(piece.ids) - tail]
        inner = slice(head, head + len(ids))
        numbers = piece.word_ids[inner]
        if isinstance(text, str) and not self._words.splits_spaces:
            numbers = self._words.numbers(text, piece.offsets[inner], numbers)
        words = np.asarray(numbers)
        capacity = self.limit - head - tail
        units = _units(words, capacity)
        edges = np.searchsorted(units, np.arange(units[-1] + 2))
        segments = []
        for first, end, owned_first, owned_end in windows(units, int(units[-1]) + 1, capacity):
            inner = ids[edges[first] : edges[end]]
            own = slice(int(edges[owned_first]), int(edges[owned_end]))
            place = slice(own.start - int(edges[first]), own.stop - int(edges[first]))
            segments.append(([*self._head, *inner, *self._tail], place))
        return segments


def _units(words: np.ndarray, capacity: int) -> np.ndarray:
    """Number the words of a text; a word that no window can hold is split into several."""
    begins = np.diff(words, prepend=-2) != 0
    place = np.arange(len(words))
    since = place - np.maximum.accumulate(np.where(begins, place, 0))
    return np.cumsum(begins | ((since % capacity == 0) & (since > 0))) - 1


def _word_starts(words: Sequence[str], delimiter: str) -> list[int]:
    sizes = (len(word) + len(delimiter) for word in words)
    return list(itertools.accumulate(sizes, initial=0))


def _alone(text: str, piece: Any, inner: slice, words: Words) -> Reading:
    """Return the reading of one text in one segment: like `_Builder`, but with few NumPy calls.

    After a forward pass, which evicts the CPU's caches, each call takes ten times as long as in a
    loop of its own.
    """
    ids, offsets = np.asarray(piece.ids, np.int64), piece.offsets[inner]
    cut = bool(piece.overflowing)
    numbers = words.numbers(text, offsets, piece.word_ids[inner], cut=cut)
    places, every = np.asarray(offsets, np.int64).reshape(-1, 2), np.arange(len(ids))[inner]
    tokens = Tokens(
        input_ids=ids[inner],
        starts=places[:, 0],
        ends=places[:, 1],
        words=np.asarray(numbers, np.int64),
        numbers=every,
        source=every,
        borders=np.asarray([0, len(every)]),
        owners=np.asarray([0]),
    )
    return Reading([text], tokens, ids.astype(np.int32), np.asarray([0, len(ids)]), 0)


class _Builder:
    """Collects segments and tokens in flat lists."""

    def __init__(self, head: int, tail: int, texts: Sequence[Text], numbering: Words) -> None:
        self.head, self.tail = head, tail
        self.texts, self.numbering = texts, numbering
        self.model_ids: list[list[int]] = []
        self.own: list[tuple[int, int]] = []  # positions in the model's input that tokens come from
        self.place = 0
        self.ids: list[list[int]] = []
        self.offsets: list[Sequence[tuple[int, int]]] = []
        self.words: list[Sequence[int]] = []
        self.owners: list[int] = []

    def add(self, piece: Any, owner: int, shift: list[int] | None) -> None:
        """Add one segment that is one sequence."""
        ids = piece.ids
        self._segment(ids, slice(0, len(ids) - self.head - self.tail))
        self._sequence(ids, piece, owner, shift)

    def add_windows(
        self,
        piece: Any,
        owner: int,
        shift: list[int] | None,
        parts: list[tuple[list[int], slice]],
    ) -> None:
        """Add several segments that together answer for one sequence."""
        for ids, place in parts:
            self._segment(ids, place)
        self._sequence(piece.ids, piece, owner, shift)

    def _segment(self, ids: list[int], own: slice) -> None:
        self.model_ids.append(ids)
        base = self.place + self.head
        self.own.append((base + own.start, base + own.stop))
        self.place += len(ids)

    def _sequence(self, ids: list[int], piece: Any, owner: int, shift: list[int] | None) -> None:
        inside = slice(self.head, len(ids) - self.tail)
        offsets, words = piece.offsets[inside], piece.word_ids[inside]
        if shift is None:
            cut = bool(piece.overflowing) or self.owners[-1:] == [owner]
            words = self.numbering.numbers(str(self.texts[owner]), offsets, words, cut=cut)
        else:
            offsets = [
                (a + shift[word], b + shift[word])
                for (a, b), word in zip(offsets, words, strict=True)
            ]
        self.ids.append(ids[inside])
        self.offsets.append(offsets)
        self.words.append(words)
        self.owners.append(owner)

    def reading(self, texts: list[str], longest: int) -> Reading:
        """Return everything collected, as arrays."""
        flat = functools.partial(np.fromiter, dtype=np.int64)
        lengths = flat(map(len, self.ids), count=len(self.ids))
        borders = np.concatenate([[0], np.cumsum(lengths)])
        offsets = flat(
            itertools.chain.from_iterable(itertools.chain.from_iterable(self.offsets))
        ).reshape(-1, 2)
        words = itertools.chain.from_iterable(self.words)
        ranges = [np.arange(a, b) for a, b in self.own]
        tokens = Tokens(
            input_ids=flat(itertools.chain.from_iterable(self.ids)),
            starts=offsets[:, 0],
            ends=offsets[:, 1],
            words=flat(words),
            numbers=np.arange(borders[-1]) - np.repeat(borders[:-1], lengths) + self.head,
            source=np.concatenate(ranges) if ranges else np.zeros(0, np.int64),
            borders=borders,
            owners=flat(self.owners, count=len(self.owners)),
        )
        sizes = [len(ids) for ids in self.model_ids]
        return Reading(
            texts=texts,
            tokens=tokens,
            input_ids=flat(itertools.chain.from_iterable(self.model_ids)).astype(np.int32),
            starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            longest=longest,
        )
