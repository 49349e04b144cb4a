"""Find the chains of a CRF in packed rows: which word follows which in its sentence.

A chain is a sentence, or the part of one that a segment owns: a sentence longer than a window
becomes several chains, whose inner borders have neither a transition nor a start or an end.
A segment may hold one sentence or several. Chains follow from the number of each word in the
corpus, the segments of a row, and the positions in the corpus at which sentences begin.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flaxner.data.packing import Rows
from flaxner.data.segments import IGNORED_LABEL, Segments

# How a word is linked to the words before and after it, as bits.
CONTINUES, STARTS, ENDS = 1, 2, 4


def sentence_borders(sizes: Sequence[int]) -> np.ndarray:
    """Return STARTS and ENDS for every word of a corpus, int8, given the sentences' word counts."""
    lengths = np.asarray(sizes, np.int64)
    ends = np.cumsum(lengths)
    some = lengths > 0
    borders = np.zeros(int(lengths.sum()), np.int8)
    borders[(ends - lengths)[some]] |= STARTS
    borders[ends[some] - 1] |= ENDS
    return borders


def most_words(segments: Segments, row_length: int) -> int:
    """Return an upper bound on the words in a row, however segments are packed; a multiple of 8.

    A row holds each segment at most once. So no row has more words than one filled with the
    segments that have the most words per token, the last of them in part (Dantzig 1957). The bound
    does not depend on the order, batch size or number of steps, and neither does the compiled
    program.

    Args:
      segments: a corpus.
      row_length: tokens per row; caps the bound, even if it is not a multiple of 8.
    """
    counted = np.concatenate([[0], np.cumsum(segments.words >= 0)])
    words = counted[segments.starts[1:]] - counted[segments.starts[:-1]]
    order = np.argsort(-words / segments.lengths)
    words, lengths = words[order], segments.lengths[order]
    filled = np.concatenate([[0], np.cumsum(lengths)])
    whole = int(np.searchsorted(filled, row_length, side="right")) - 1
    most = int(words[:whole].sum())
    if whole < len(words):
        most += int((row_length - filled[whole]) * words[whole] // lengths[whole])
    return min(-(-max(most, 1) // 8) * 8, row_length)


def word_chains(rows: Rows, borders: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Collect the labelled words of each row, side by side.

    Args:
      rows: packed rows (B, L).
      borders: for every word of the corpus, see `sentence_borders`.
      width: W, at least the largest number of words in a row.

    Returns:
      places_BW: position of each word's first token in its row; after the last word, distinct
        numbers from L on.
      links_BW: the sum of CONTINUES (the previous word precedes it in its chain), STARTS (first
        word of its sentence) and ENDS (last word of it); 0 after the last word.
    """
    B, L = rows.words.shape
    row, column = np.nonzero((rows.words >= 0) & (rows.labels != IGNORED_LABEL))
    words, segments = rows.words[row, column], rows.segment_ids[row, column]
    number = np.arange(len(row)) - np.searchsorted(row, np.arange(B))[row]
    marks = borders[words].astype(np.int32)
    follows = np.zeros(len(row), bool)
    follows[1:] = (
        (row[1:] == row[:-1])
        & (segments[1:] == segments[:-1])
        & (words[1:] == words[:-1] + 1)
        & (marks[1:] & STARTS == 0)
    )
    places_BW = np.broadcast_to(np.arange(L, L + width, dtype=np.int32), (B, width)).copy()
    links_BW = np.zeros((B, width), np.int32)
    places_BW[row, number] = column
    links_BW[row, number] = marks + CONTINUES * follows
    return places_BW, links_BW
