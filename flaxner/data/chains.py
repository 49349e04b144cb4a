"""Words of packed rows -> chains: which word of a row follows which in its sentence.

A chain is a sentence, or the part of one that a segment owns: a sentence longer than a window
becomes several chains, whose inner borders have neither a transition nor a start or an end.
A segment may hold one sentence or many. All is told by the number of each word in the corpus,
the segments of a row, and where in the corpus sentences begin.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flaxner.data.packing import Rows
from flaxner.data.segments import IGNORED_LABEL, Segments

# How a word hangs on what is before and after it, as bits.
CONTINUES, STARTS, ENDS = 1, 2, 4


def sentence_borders(sizes: Sequence[int]) -> np.ndarray:
    """STARTS and ENDS of every word of a corpus, int8, given the words of each sentence."""
    lengths = np.asarray(sizes, np.int64)
    ends = np.cumsum(lengths)
    some = lengths > 0
    borders = np.zeros(int(lengths.sum()), np.int8)
    borders[(ends - lengths)[some]] |= STARTS
    borders[ends[some] - 1] |= ENDS
    return borders


def most_words(segments: Segments, row_length: int) -> int:
    """Words that no row of these segments exceeds, however they are packed; a multiple of 8.

    Rows hold a segment once. So none has more words than one that is filled with the segments that
    have most words for their tokens, the last of them in part (Dantzig 1957). It is the same for
    every order, batch size and number of steps, and so is what is compiled.

    Args:
      segments: a corpus.
      row_length: tokens of a row, which the width does not exceed, be it no multiple.
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
    """The labelled words of each row, side by side.

    Args:
      rows: packed rows (B, L).
      borders: of every word of the corpus, see `sentence_borders`.
      width: W, at least the most words of a row.

    Returns:
      places_BW: position of each word's first token in its row; beyond the last word numbers
        from L on, each once.
      links_BW: CONTINUES (the word before is its predecessor in the chain), STARTS (first of
        its sentence), ENDS (last of it), added up; 0 beyond the last word.
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
