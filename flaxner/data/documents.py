"""Join a document's sentences into windows, so each sees its neighbours (`--context document`).

A window is one segment: [CLS], consecutive whole sentences of one document, [SEP] (or what else the
tokenizer of a model from elsewhere puts around a text). All its words attend to each other, and it
is packed, masked and scored like any other segment. BERT's own 92.4 on CoNLL-2003 was reached with
such context (Devlin et al. 2019, section 5.3).

*Each word is labelled once.* Adjacent windows of a document overlap by whole sentences, so that
sentences at a border have context on both sides. Each sentence is owned by one window: the one in
which the shorter of its left and right context is longer. Elsewhere its words are only context.

*Each token is computed about once.* The overlaps of a document are at most a tenth of its tokens,
so a corpus costs at most 1.1 times the tokens of its sentences, less the [CLS] and [SEP] that
windows save. (Giving every sentence a window of its own, with everything that fits around it, would
multiply the cost by the number of sentences in a window.) A document has as few windows as it can,
of lengths as equal as its sentences allow: a short last window would show little context.

*Nothing else is joined.* Windows end where documents end. A sentence longer than a window is read
on its own, in the overlapping windows of `segments.windows`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np

from flaxner.data.segments import IGNORED_LABEL, Segments, Window, cut
from flaxner.wording import number_of

LEAST_OVERLAP = 0.05  # fraction of a window: about one sentence in 512 tokens
MOST_REPEATED = 0.1  # maximum fraction of a document's tokens that all its overlaps may repeat


@dataclasses.dataclass(frozen=True)
class DocumentSegments(Segments):
    """A corpus in windows of documents; `sentences` has the first sentence that each window owns.

    Attributes:
      num_documents: number of documents in the corpus.
      plain: the same corpus with one sentence per segment.
      window_of: the window that owns each segment of `plain`; -1 if the segment has no words.
    """

    num_documents: int
    plain: Segments
    window_of: np.ndarray

    @property
    def windowed(self) -> int:
        """Number of sentences that were too long for one window."""
        return self.plain.windowed

    def described(self) -> str:
        """Describe documents, windows and repeated tokens, for a message."""
        mean = self.owned.sum() / max(len(self), 1)
        special = self.head + self.tail
        inside = int((self.plain.lengths - special).sum())
        twice = int((self.lengths - special).sum()) / max(inside, 1) - 1
        longest = int(self.lengths.max(initial=0))
        return (
            f"{number_of(self.num_documents, 'documents')} in {number_of(len(self), 'windows')} "
            f"({mean:.1f} sentences on average, {longest} tokens at most), {twice:.1%} of the "
            "tokens read twice"
        )

    @functools.cached_property
    def owned(self) -> np.ndarray:
        """Sentences that each window owns; one in several windows counts for the first."""
        return np.bincount(self.window_of[self.begins & (self.window_of >= 0)], minlength=len(self))

    @functools.cached_property
    def begins(self) -> np.ndarray:
        """Whether each segment of `plain` is the first of its sentence."""
        return np.diff(self.plain.sentences, prepend=-1) > 0

    @functools.cached_property
    def joined(self) -> Segments:
        """The windows, followed by the segments of `plain`; every word occurs twice."""
        both: dict[str, Any] = {
            name: np.concatenate([getattr(self, name), getattr(self.plain, name)])
            for name in ("input_ids", "labels", "words", "sentences")
        }
        starts = np.concatenate([self.starts, self.starts[-1] + self.plain.starts[1:]])
        return dataclasses.replace(self.plain, **both, starts=starts)


def unmarked_notes(sources: Sequence[str]) -> list[str]:
    """Return notes for document context about sources that do not mark documents."""
    return [f"{source} does not mark documents: it counts as one document" for source in sources]


def document_numbers(documents: Sequence[Hashable]) -> np.ndarray:
    """Number documents 0, 1, ..., given each sentence's document; a run of equal ones is one."""
    new = [a != b for a, b in itertools.pairwise(documents)]
    return np.cumsum([0, *new])[: len(documents)]


def in_documents(
    plain: Segments, documents: Sequence[Hashable], max_length: int
) -> DocumentSegments:
    """Join the sentences of each document into windows.

    Args:
      plain: the corpus as returned by `align` with the same `max_length`.
      documents: number or name of each sentence's document.
      max_length: maximum number of tokens in a window, including special tokens.
    """
    numbers = document_numbers(documents)
    head, tail = plain.head, plain.tail
    place = np.arange(len(plain.input_ids)) - np.repeat(plain.starts[:-1], plain.lengths)
    left = np.repeat(plain.lengths, plain.lengths) - place
    inside = np.flatnonzero((place >= head) & (left > tail))
    ends = np.searchsorted(inside, plain.starts)  # tokens before each segment, without special ones
    window_of = np.full(len(plain), -1)
    places = [np.zeros(0, np.int64)]  # tokens of plain, by window
    sizes: list[int] = []
    begins: list[int] = []
    for first, end, low, high in _windows(plain, numbers, ends, max_length - head - tail):
        window_of[low:high] = len(begins)
        begins.append(low)
        begin, close = plain.starts[first : first + 2]
        opening, closing = np.arange(begin, begin + head), np.arange(close - tail, close)
        places += [opening, inside[ends[first] : ends[end]], closing]
        sizes.append(int(ends[end] - ends[first]) + head + tail)
    window_of[plain.lengths == head + tail] = -1
    flat = np.concatenate(places)
    segment = np.repeat(np.arange(len(plain)), plain.lengths)[flat]
    owned = window_of[segment] == np.repeat(np.arange(len(sizes)), sizes)
    return DocumentSegments(
        input_ids=plain.input_ids[flat],
        labels=np.where(owned, plain.labels[flat], IGNORED_LABEL).astype(np.int32),
        words=np.where(owned, plain.words[flat], -1).astype(np.int32),
        starts=np.cumsum([0, *sizes]).astype(np.int64),
        sentences=plain.sentences[begins],
        num_words=plain.num_words,
        num_sentences=plain.num_sentences,
        shortened=plain.shortened,
        head=head,
        tail=tail,
        num_documents=int(numbers[-1]) + 1 if len(numbers) else 0,
        plain=plain,
        window_of=window_of,
    )


def _windows(
    plain: Segments, numbers: np.ndarray, ends: np.ndarray, capacity: int
) -> Iterator[Window]:
    """Yield the windows of a corpus, as ranges of segments of `plain`; each owns a word."""
    several = np.bincount(plain.sentences, minlength=plain.num_sentences) > 1
    alone = several[plain.sentences]
    document = numbers[plain.sentences]
    change = np.flatnonzero((document[1:] != document[:-1]) | alone[1:] | alone[:-1]) + 1
    for begin, end in itertools.pairwise([0, *change.tolist(), len(plain)]):
        for window in document_windows(ends[begin : end + 1] - ends[begin], capacity):
            first, last, low, high = (begin + place for place in window)
            if ends[low] < ends[high]:
                yield first, last, low, high


def document_windows(ends: np.ndarray, capacity: int) -> list[Window]:
    """Cut a document into windows of whole sentences.

    There are as few windows as overlaps of `LEAST_OVERLAP` allow. Without adding windows, they
    overlap as far as possible, up to a tenth of the document in total, and are then made as short
    as possible, which makes their lengths similar.

    Args:
      ends: number of tokens before each sentence, then the total; no sentence exceeds `capacity`.
      capacity: maximum number of tokens in a window.
    """
    total, count = int(ends[-1]), len(ends) - 1
    if total <= capacity:
        return [(0, count, 0, count)]
    least = int(capacity * LEAST_OVERLAP)
    number = len(cut(ends, capacity, least))
    most = int(total * MOST_REPEATED) // (number - 1)

    def few(length: int, overlap: int) -> bool:
        return len(cut(ends, length, overlap)) <= number

    # One less than the first overlap that needs another window; overlaps up to `least` do not.
    overlap = _first(least + 1, most + 1, lambda size: not few(capacity, size)) - 1
    overlap = min(overlap, most)
    shortest = _first(int(np.diff(ends).max()), capacity, lambda size: few(size, overlap))
    return cut(ends, shortest, overlap)


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Find the first number from `low` on for which `holds` is true, by bisection; else `high`."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
