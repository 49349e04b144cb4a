"""Tokenise words: labels on first tokens, and windows that lose no word."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from flaxner.data.tokenizer import special_tokens, words_backend

IGNORED_LABEL = -100  # for positions without a label, as in torch's cross_entropy
SENTENCES_AT_ONCE = 2048  # tokenised at once: bounds memory, keeps all threads busy


class Tagged(Protocol):
    """What alignment requires of a sentence."""

    @property
    def words(self) -> Sequence[str]:
        """The sentence's words."""

    @property
    def tags(self) -> Sequence[str] | None:
        """Their tags, if known."""


class TagEncoder(Protocol):
    """What alignment requires of a label scheme."""

    def encode(self, tags: Sequence[str]) -> np.ndarray:
        """Convert tags to labels."""


@dataclasses.dataclass(frozen=True)
class Segments:
    """A tokenised corpus: sentences, and windows of the long ones, laid end to end.

    Attributes:
      input_ids: tokens of all segments, including special tokens such as [CLS], int32.
      labels: label at each word's first token in the window that owns the word (and at its later
        tokens if these are labelled), IGNORED_LABEL elsewhere, int32.
      words: index of that word in the whole corpus, -1 elsewhere, int32.
      starts: where each segment begins, followed by the end of the last, S + 1 numbers, int64.
      sentences: the sentence that each segment belongs to, int32, ascending.
      num_words: number of words in the corpus.
      num_sentences: number of sentences in the corpus.
      shortened: indices of the words that no window can hold, so only their first tokens are read.
      head, tail: numbers of special tokens at the beginning and at the end of every segment.
    """

    input_ids: np.ndarray
    labels: np.ndarray
    words: np.ndarray
    starts: np.ndarray
    sentences: np.ndarray
    num_words: int
    num_sentences: int
    shortened: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros(0, np.int64), kw_only=True
    )
    head: int = dataclasses.field(default=1, kw_only=True)
    tail: int = dataclasses.field(default=1, kw_only=True)

    def __len__(self) -> int:
        return len(self.sentences)

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each segment."""
        return np.diff(self.starts)

    @property
    def windowed(self) -> int:
        """Number of sentences that were too long for one segment."""
        return int((np.bincount(self.sentences, minlength=1) > 1).sum())


def align(
    sentences: Sequence[Tagged],
    tokenizer: Any,
    scheme: TagEncoder | None,
    max_length: int,
    later: np.ndarray | None = None,
) -> Segments:
    """Tokenise a corpus, label each word at its first token and split long sentences into windows.

    A word for which the tokenizer produces no token (a zero-width space, say) becomes [UNK], so it
    is still scored. A sentence longer than the limit becomes windows that overlap by a quarter;
    each word is owned by the window that shows more of its context. A word that alone exceeds the
    limit is read by its first tokens, as `transformers` does when it truncates, and is counted.

    Args:
      sentences: words, and tags if `scheme` is given.
      tokenizer: a fast tokenizer from `transformers`. A segment gets the special tokens that it
        puts around a text: those of training, or those of whoever trained a model elsewhere.
      scheme: converts tags to labels; None leaves every label IGNORED_LABEL.
      max_length: maximum number of tokens in a segment, including special tokens.
      later: maps the label of a word to the label of its later tokens; None: they have none.

    Raises:
      ValueError: a tag is not in the scheme, or a word has no token.
    """
    backend = words_backend(tokenizer)
    # Looked up once: `transformers` searches the vocabulary every time.
    unknown = tokenizer.unk_token_id
    around = special_tokens(backend, tokenizer.cls_token_id)
    head, tail = (np.asarray(ids, np.int32) for ids in around)
    capacity = max_length - len(head) - len(tail)
    columns: dict[str, list[np.ndarray]] = {"input_ids": [], "labels": [], "words": []}
    lengths: list[int] = []
    owners: list[int] = []
    shortened: list[int] = []
    num_words = 0
    for done, begin in enumerate(range(0, len(sentences), SENTENCES_AT_ONCE)):
        chunk = sentences[begin : begin + SENTENCES_AT_ONCE]
        encodings = backend.encode_batch(
            [list(s.words) for s in chunk], is_pretokenized=True, add_special_tokens=False
        )
        for index, (sentence, encoding) in enumerate(zip(chunk, encodings, strict=True), begin):
            count = len(sentence.words)
            ids, word_ids = _tokens(encoding, sentence.words, unknown)
            labels = np.full(count, IGNORED_LABEL, np.int32)
            if scheme is not None and sentence.tags is not None:
                labels = scheme.encode(sentence.tags)
            for window in windows(word_ids, count, capacity):
                segment = _segment(
                    (head, tail), ids, word_ids, labels, num_words, window, capacity, later
                )
                for column, values in zip(columns.values(), segment, strict=True):
                    column.append(values)
                lengths.append(len(segment[0]))
                owners.append(index)
            if len(ids) > capacity:
                shortened += (num_words + np.flatnonzero(np.bincount(word_ids) > capacity)).tolist()
            num_words += count
        for column in columns.values():  # one array per chunk: many small arrays are expensive
            column[done:] = [np.concatenate(column[done:])]
    empty = [np.zeros(0, np.int32)]
    return Segments(
        **{name: np.concatenate(column or empty) for name, column in columns.items()},
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        sentences=np.asarray(owners, np.int32),
        num_words=num_words,
        num_sentences=len(sentences),
        shortened=np.asarray(shortened, np.int64),
        head=len(head),
        tail=len(tail),
    )


def _tokens(
    encoding: Any, words: Sequence[str], unknown: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the token ids and the word of each; words without tokens get [UNK].

    Raises:
      ValueError: there are such words, but no [UNK].
    """
    count = len(words)
    ids = np.asarray(encoding.ids, np.int32)
    word_ids = np.asarray(encoding.word_ids, np.int32)
    if len(set(encoding.word_ids)) == count:  # the usual case: no word without a token
        return ids, word_ids
    absent = np.setdiff1d(np.arange(count, dtype=np.int32), word_ids)
    if unknown is None:
        raise ValueError(
            f"the tokenizer must have a token for every word, or an unknown token: it has none for "
            f"{words[absent[0]]!r}"
        )
    ids = np.concatenate([ids, np.full(len(absent), unknown, np.int32)])
    word_ids = np.concatenate([word_ids, absent])
    order = np.argsort(word_ids, kind="stable")
    return ids[order], word_ids[order]


Window = tuple[int, int, int, int]  # first item, end item, first owned item, end of owned items


def windows(word_ids: np.ndarray, count: int, capacity: int) -> list[Window]:
    """Cut a sentence into windows of at most `capacity` tokens, at word boundaries."""
    if len(word_ids) <= capacity:
        return [(0, count, 0, count)]
    sizes = np.minimum(np.bincount(word_ids, minlength=count), capacity)
    return cut(np.concatenate([[0], np.cumsum(sizes)]), capacity, capacity // 4)


def cut(ends: np.ndarray, capacity: int, overlap: int) -> list[Window]:
    """Cut a sequence of items (words, or whole sentences) into windows.

    Each window is as long as possible. An item in two windows is owned by the one in which the
    shorter of its left and right context is longer: ownership changes as close as possible to the
    middle of the overlap.

    Args:
      ends: number of tokens before each item, then the total; no item exceeds `capacity`.
      capacity: maximum number of tokens in a window.
      overlap: maximum number of tokens that a window repeats from the previous one.
    """
    count = len(ends) - 1
    spans = []
    first = 0
    while True:
        last = int(np.searchsorted(ends, ends[first] + capacity, side="right")) - 1
        spans.append((first, last))
        if last == count:
            break
        # Step back for context, but not so far that the next item no longer fits.
        back = max(ends[last] - overlap, ends[last + 1] - capacity)
        first = max(first + 1, int(np.searchsorted(ends, back, side="left")))
    borders = [0]
    for (_, last), (following, _) in itertools.pairwise(spans):
        middle = (ends[following] + ends[last]) / 2
        borders.append(following + int(np.abs(ends[following : last + 1] - middle).argmin()))
    borders.append(count)
    return [(*span, borders[i], borders[i + 1]) for i, span in enumerate(spans)]


def _segment(
    around: tuple[np.ndarray, np.ndarray],
    ids: np.ndarray,
    word_ids: np.ndarray,
    labels: np.ndarray,
    base: int,
    window: Window,
    capacity: int,
    later: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return one window's input_ids, labels and corpus-wide word indices, with special tokens."""
    first, end, owned_first, owned_end = window
    low, high = np.searchsorted(word_ids, [first, end])
    # A single word can be longer than a window: only its first tokens are used.
    high = min(high, low + capacity)
    ids, word_ids = ids[low:high], word_ids[low:high]
    is_first = np.ones(len(word_ids), bool)
    is_first[1:] = word_ids[1:] != word_ids[:-1]
    owned = (word_ids >= owned_first) & (word_ids < owned_end)
    rest, owned = owned & ~is_first, owned & is_first
    head, tail = around
    input_ids = np.concatenate((head, ids, tail))
    inside = slice(len(head), len(head) + len(ids))
    out_labels = np.full(len(input_ids), IGNORED_LABEL, np.int32)
    out_words = np.full(len(input_ids), -1, np.int32)
    out_labels[inside][owned] = labels[word_ids[owned]]
    if later is not None and rest.any():
        known = labels[word_ids[rest]]
        out_labels[inside][rest] = np.where(known < 0, IGNORED_LABEL, later[known.clip(0)])
    out_words[inside][owned] = base + word_ids[owned]
    return input_ids, out_labels, out_words
