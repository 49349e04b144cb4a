"""Words -> tokens: first-token labels, windows that lose no word."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from flaxner.data.tokenizer import words_backend

IGNORED_LABEL = -100  # of positions that carry no label, as torch's cross_entropy has it
SENTENCES_AT_ONCE = 2048  # sentences tokenised at once: bounds memory, feeds all threads


class Tagged(Protocol):
    """What alignment needs of a sentence."""

    @property
    def words(self) -> Sequence[str]:
        """The sentence's words."""

    @property
    def tags(self) -> Sequence[str] | None:
        """Their tags, if known."""


class TagEncoder(Protocol):
    """What alignment needs of a label scheme."""

    def encode(self, tags: Sequence[str]) -> np.ndarray:
        """Tags -> labels."""


@dataclasses.dataclass(frozen=True)
class Segments:
    """A tokenised corpus: sentences, and windows of the long ones, laid end to end.

    Attributes:
      input_ids: tokens of all segments, [CLS] and [SEP] included, int32.
      labels: label of each word's first token in the window that owns the word, and of its
        later tokens where these are labelled, else IGNORED_LABEL, int32.
      words: index of that word in the whole corpus, else -1, int32.
      starts: where each segment begins, and the end of the last, int64, S + 1 numbers.
      sentences: the sentence each segment belongs to, int32, ascending.
      num_words: words in the corpus.
      num_sentences: sentences in the corpus.
    """

    input_ids: np.ndarray
    labels: np.ndarray
    words: np.ndarray
    starts: np.ndarray
    sentences: np.ndarray
    num_words: int
    num_sentences: int

    def __len__(self) -> int:
        return len(self.sentences)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each segment."""
        return np.diff(self.starts)

    @property
    def windowed(self) -> int:
        """Sentences that were too long for one segment."""
        return int((np.bincount(self.sentences, minlength=1) > 1).sum())


def align(
    sentences: Sequence[Tagged],
    tokenizer: Any,
    scheme: TagEncoder | None,
    max_length: int,
    later: np.ndarray | None = None,
) -> Segments:
    """Tokenise a corpus; label each word at its first token; window long sentences.

    A word that the tokenizer makes nothing of (a zero-width space, say) becomes [UNK], so that
    it is still scored. A sentence longer than the limit becomes windows that overlap by a
    quarter; each word is owned by the window that sees more of its context.

    Args:
      sentences: words, and tags if `scheme` is given.
      tokenizer: a fast tokenizer of `transformers`.
      scheme: tags -> labels; None leaves every label IGNORED_LABEL.
      max_length: tokens of a segment, [CLS] and [SEP] included.
      later: label of a word -> label of its later tokens; None: they carry none.

    Raises:
      ValueError: a tag that the scheme does not know.
    """
    backend = words_backend(tokenizer)
    columns: dict[str, list[np.ndarray]] = {"input_ids": [], "labels": [], "words": []}
    lengths: list[int] = []
    owners: list[int] = []
    num_words = 0
    for done, begin in enumerate(range(0, len(sentences), SENTENCES_AT_ONCE)):
        chunk = sentences[begin : begin + SENTENCES_AT_ONCE]
        encodings = backend.encode_batch(
            [list(s.words) for s in chunk], is_pretokenized=True, add_special_tokens=False
        )
        for index, (sentence, encoding) in enumerate(zip(chunk, encodings, strict=True), begin):
            count = len(sentence.words)
            ids, word_ids = _tokens(encoding, count, tokenizer.unk_token_id)
            labels = np.full(count, IGNORED_LABEL, np.int32)
            if scheme is not None and sentence.tags is not None:
                labels = scheme.encode(sentence.tags)
            for window in windows(word_ids, count, max_length - 2):
                segment = _segment(
                    tokenizer, ids, word_ids, labels, num_words, window, max_length - 2, later
                )
                for column, values in zip(columns.values(), segment, strict=True):
                    column.append(values)
                lengths.append(len(segment[0]))
                owners.append(index)
            num_words += count
        for column in columns.values():  # one array a chunk: little arrays cost more than tokens
            column[done:] = [np.concatenate(column[done:])]
    empty = [np.zeros(0, np.int32)]
    return Segments(
        **{name: np.concatenate(column or empty) for name, column in columns.items()},
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        sentences=np.asarray(owners, np.int32),
        num_words=num_words,
        num_sentences=len(sentences),
    )


def _tokens(encoding: Any, count: int, unknown: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and the word of each; words without a token get [UNK]."""
    ids = np.asarray(encoding.ids, np.int32)
    word_ids = np.asarray(encoding.word_ids, np.int32)
    borders = np.diff(word_ids, prepend=-1, append=count)
    if (borders <= 1).all():  # from 0 to count - 1 without a gap: the usual case
        return ids, word_ids
    absent = np.setdiff1d(np.arange(count, dtype=np.int32), word_ids)
    ids = np.concatenate([ids, np.full(len(absent), unknown, np.int32)])
    word_ids = np.concatenate([word_ids, absent])
    order = np.argsort(word_ids, kind="stable")
    return ids[order], word_ids[order]


Window = tuple[int, int, int, int]  # first item, end item, first owned item, end of owned items


def windows(word_ids: np.ndarray, count: int, capacity: int) -> list[Window]:
    """Cut a sentence into windows of at most `capacity` tokens, at word borders."""
    if len(word_ids) <= capacity:
        return [(0, count, 0, count)]
    sizes = np.minimum(np.bincount(word_ids, minlength=count), capacity)
    return cut(np.concatenate([[0], np.cumsum(sizes)]), capacity, capacity // 4)


def cut(ends: np.ndarray, capacity: int, overlap: int) -> list[Window]:
    """Windows over items in a row: words, or whole sentences.

    Each window is as long as it may be. An item of two windows is owned by the one that shows
    more on the side where it shows less: the border lies nearest to the middle of the overlap.

    Args:
      ends: tokens before each item, and of all; no item is larger than `capacity`.
      capacity: tokens of a window, at most.
      overlap: tokens that a window repeats of the one before, at most.
    """
    count = len(ends) - 1
    spans = []
    first = 0
    while True:
        last = int(np.searchsorted(ends, ends[first] + capacity, side="right")) - 1
        spans.append((first, last))
        if last == count:
            break
        # Step back for context, but never so far that the next item does not fit.
        back = max(ends[last] - overlap, ends[last + 1] - capacity)
        first = max(first + 1, int(np.searchsorted(ends, back, side="left")))
    borders = [0]
    for (_, last), (following, _) in itertools.pairwise(spans):
        middle = (ends[following] + ends[last]) / 2
        borders.append(following + int(np.abs(ends[following : last + 1] - middle).argmin()))
    borders.append(count)
    return [(*span, borders[i], borders[i + 1]) for i, span in enumerate(spans)]


def _segment(
    tokenizer: Any,
    ids: np.ndarray,
    word_ids: np.ndarray,
    labels: np.ndarray,
    base: int,
    window: Window,
    capacity: int,
    later: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """input_ids, labels and corpus-wide word indices of one window, specials added."""
    first, end, owned_first, owned_end = window
    low, high = np.searchsorted(word_ids, [first, end])
    # A single word can be longer than a window: its first tokens stand for it.
    high = min(high, low + capacity)
    ids, word_ids = ids[low:high], word_ids[low:high]
    is_first = np.ones(len(word_ids), bool)
    is_first[1:] = word_ids[1:] != word_ids[:-1]
    owned = (word_ids >= owned_first) & (word_ids < owned_end)
    rest, owned = owned & ~is_first, owned & is_first
    size = len(ids) + 2
    input_ids = np.empty(size, np.int32)
    input_ids[0], input_ids[1:-1], input_ids[-1] = (
        tokenizer.cls_token_id,
        ids,
        tokenizer.sep_token_id,
    )
    out_labels = np.full(size, IGNORED_LABEL, np.int32)
    out_words = np.full(size, -1, np.int32)
    out_labels[1:-1][owned] = labels[word_ids[owned]]
    if later is not None and rest.any():
        known = labels[word_ids[rest]]
        out_labels[1:-1][rest] = np.where(known < 0, IGNORED_LABEL, later[known.clip(0)])
    out_words[1:-1][owned] = base + word_ids[owned]
    return input_ids, out_labels, out_words
