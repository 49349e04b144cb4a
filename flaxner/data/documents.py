"""Sentences of one document -> windows in which each sees its neighbours (`--context document`).

A window is one segment: [CLS], consecutive whole sentences of one document, [SEP]. All its words
attend to each other, and it is packed, masked and scored as any segment is. BERT's own 92.4 on
CoNLL-2003 was reached with such context (Devlin et al. 2019, section 5.3).

*A word is labelled once.* Neighbouring windows of a document overlap by whole sentences, so that
those at a border see something on either side. Each sentence is owned by one window, the one that
shows more of the document on the side where it shows less; elsewhere its words are context.

*A token is computed about once.* The overlaps of a document are at most a tenth of its tokens, so
a corpus costs at most 1.1 times the tokens of its sentences, and what windows save in [CLS] and
[SEP] goes off that. (A window of its own for every sentence, with all that fits around it, costs
as many times more as a window holds sentences.) A document has as few windows as it can, and these
are as equal as its sentences let them be: a short rest would show little.

*Nothing else is joined.* Windows end where documents do. A sentence longer than a window is read
alone, in the overlapping windows of `segments.windows`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np

from flaxner.data.segments import IGNORED_LABEL, Segments, Window, cut

LEAST_OVERLAP = 0.05  # of a window: about one sentence in 512 tokens
MOST_REPEATED = 0.1  # of the tokens of a document, by all its overlaps


@dataclasses.dataclass(frozen=True)
class DocumentSegments(Segments):
    """A corpus in windows of documents; `sentences` is the first that each window owns.

    Attributes:
      num_documents: documents in the corpus.
      plain: the same corpus, a sentence a segment.
      window_of: the window that owns each segment of `plain`; -1: it has no word.
    """

    num_documents: int
    plain: Segments
    window_of: np.ndarray

    @property
    def windowed(self) -> int:
        """Sentences that were too long for one window."""
        return self.plain.windowed

    def described(self) -> str:
        """Documents, windows and what is read twice, for a message."""
        mean = self.owned.sum() / max(len(self), 1)
        inside = int((self.plain.lengths - 2).sum())
        twice = int((self.lengths - 2).sum()) / max(inside, 1) - 1
        longest = int(self.lengths.max(initial=0))
        return (
            f"{self.num_documents:,} documents in {len(self):,} windows ({mean:.1f} sentences on "
            f"average, {longest} tokens at most), {twice:.1%} of the tokens read twice"
        )

    @functools.cached_property
    def owned(self) -> np.ndarray:
        """Sentences that each window owns; one in several windows counts in the first of them."""
        return np.bincount(self.window_of[self.begins & (self.window_of >= 0)], minlength=len(self))

    @functools.cached_property
    def begins(self) -> np.ndarray:
        """Whether a segment of `plain` is the first of its sentence."""
        return np.diff(self.plain.sentences, prepend=-1) > 0

    @functools.cached_property
    def joined(self) -> Segments:
        """The windows, and after them the segments of `plain`: every word twice."""
        both = {
            name: np.concatenate([getattr(self, name), getattr(self.plain, name)])
            for name in ("input_ids", "labels", "words", "sentences")
        }
        starts = np.concatenate([self.starts, self.starts[-1] + self.plain.starts[1:]])
        return Segments(
            **both, starts=starts, num_words=self.num_words, num_sentences=self.num_sentences
        )


def unmarked_notes(sources: Sequence[str]) -> list[str]:
    """What is to be said where document context is asked for, of sources that mark no document."""
    return [f"nothing marks documents in {source}: it counts as one" for source in sources]


def document_numbers(documents: Sequence[Hashable]) -> np.ndarray:
    """What names the document of each sentence -> 0, 1, ...: consecutive equal ones are one."""
    new = [a != b for a, b in itertools.pairwise(documents)]
    return np.cumsum([0, *new])[: len(documents)]


def in_documents(
    plain: Segments, documents: Sequence[Hashable], max_length: int, *, separators: bool = False
) -> DocumentSegments:
    """Join the sentences of each document to windows.

    Args:
      plain: the corpus as `align` gives it with the same `max_length`.
      documents: what names the document of each sentence.
      max_length: tokens of a window, [CLS] and [SEP] included.
      separators: end each sentence within a window with [SEP], too.
    """
    numbers = document_numbers(documents)
    first_tokens, last_tokens = plain.starts[:-1], plain.starts[1:] - 1
    special = np.zeros(len(plain.input_ids), bool)
    special[first_tokens] = True
    special[last_tokens[(plain.lengths == 2) | (not separators)]] = True
    inside = np.flatnonzero(~special)
    ends = np.searchsorted(inside, plain.starts)  # tokens before each segment, without these
    window_of = np.full(len(plain), -1)
    places = [np.zeros(0, np.int64)]  # tokens of plain, by window
    sizes: list[int] = []
    begins: list[int] = []
    for first, end, low, high in _windows(
        plain, numbers, ends, max_length - (1 if separators else 2)
    ):
        window_of[low:high] = len(begins)
        begins.append(low)
        tail = last_tokens[first : first + (0 if separators else 1)]
        places += [first_tokens[first : first + 1], inside[ends[first] : ends[end]], tail]
        sizes.append(sum(map(len, places[-3:])))
    window_of[plain.lengths == 2] = -1
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
        num_documents=int(numbers[-1]) + 1 if len(numbers) else 0,
        plain=plain,
        window_of=window_of,
    )


def _windows(
    plain: Segments, numbers: np.ndarray, ends: np.ndarray, capacity: int
) -> Iterator[Window]:
    """The windows of a corpus, in segments of `plain`; none that owns no word."""
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

    They are as few as overlaps of `LEAST_OVERLAP` allow; no more of them, they overlap as far as
    they can, up to a tenth of the document in all; and are then as short as they can be, which
    makes them alike.

    Args:
      ends: tokens before each sentence, and of all; no sentence is larger than `capacity`.
      capacity: tokens of a window, at most.
    """
    total, count = int(ends[-1]), len(ends) - 1
    if total <= capacity:
        return [(0, count, 0, count)]
    least = int(capacity * LEAST_OVERLAP)
    number = len(cut(ends, capacity, least))
    most = int(total * MOST_REPEATED) // (number - 1)

    def few(length: int, overlap: int) -> bool:
        return len(cut(ends, length, overlap)) <= number

    # The first overlap that needs one more, less 1; all up to `least` need none.
    overlap = _first(least + 1, most + 1, lambda size: not few(capacity, size)) - 1
    overlap = min(overlap, most)
    shortest = _first(int(np.diff(ends).max()), capacity, lambda size: few(size, overlap))
    return cut(ends, shortest, overlap)


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """The first number from `low` on for which something holds, by halving; else `high`."""
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
