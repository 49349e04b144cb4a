"""How batches are laid out: which order of sentences and which division of rows computes least."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from flaxner.data.levelling import levelled_order, most_in_a_batch
from flaxner.data.packing import Blocks, choose_row_counts, plan_rows
from flaxner.data.segments import Segments

SAMPLE = 64  # batches of an epoch, by which layouts are compared
SHORTEST_BLOCK = 32  # tokens; attention over fewer is no quicker
MORE_WHOLE = 4  # so many numbers of whole rows are tried
# A division of rows may cost so many rows more: what it saves in attention is more.
MORE_ROWS = 0.01


class Layout(NamedTuple):
    """How sentences come to batches and batches to rows.

    Attributes:
      level: batches are drawn to be alike, see `levelling`; else freely.
      blocks: how rows are divided; None: not at all.
    """

    level: bool = False
    blocks: Blocks | None = None

    @property
    def counts(self) -> int:
        """Row counts to compile in any case, see `choose_row_counts`."""
        return 1 if self.level else 2


def sentence_tokens(segments: Segments) -> np.ndarray:
    """Tokens of every sentence, all its windows together, (N,) int64."""
    return _summed(segments, segments.lengths)


def best_layout(segments: Segments, batch_size: int, row_length: int) -> Layout:
    """The layout with the fewest rows and, of those, the fewest pairs of positions in a block.

    It is a function of the corpus, not of a seed: seeds share a compiled program.

    Args:
      segments: the tokenised training corpus.
      batch_size: sentences of a batch.
      row_length: tokens of a row.
    """
    free, level = (_sample(segments, batch_size, level) for level in (False, True))
    fewest = _rows_of(level, row_length, 1)
    if fewest > _rows_of(free, row_length, 2):
        return Layout()
    best, pairs = Layout(level=True), fewest * row_length
    for blocks in _divisions(segments, batch_size, row_length):
        rows = _rows_of(level, row_length, 1, blocks)
        whole = min(blocks.whole * len(level), rows)
        needed = whole * row_length + (rows - whole) * blocks.length
        if rows <= fewest * (1 + MORE_ROWS) and needed < pairs:
            best, pairs = Layout(True, blocks), needed
    return best


def _divisions(segments: Segments, batch_size: int, row_length: int) -> Iterator[Blocks]:
    """Rows in halves, quarters, eighths, and how many of a batch stay whole: some pack better."""
    sizes = sentence_tokens(segments)
    for parts in (2, 4, 8):
        length = row_length // parts
        if length * parts == row_length and length >= SHORTEST_BLOCK:
            is_long = segments.lengths > length
            counts = _summed(segments, is_long)
            # Best fit leaves at most one of the rows that long segments begin half empty.
            tokens = _summed(segments, np.where(is_long, segments.lengths, 0))
            by_tokens = 2 * most_in_a_batch(sizes, tokens, batch_size) // row_length + 1
            fewest = min(most_in_a_batch(sizes, counts, batch_size), by_tokens)
            yield from (Blocks(length, fewest + more) for more in range(MORE_WHOLE))


def _sample(segments: Segments, batch_size: int, level: bool) -> list[np.ndarray]:
    """Lengths of the segments of some batches of an epoch."""
    rng = np.random.default_rng(0)
    if level:
        order = levelled_order(sentence_tokens(segments), batch_size, rng)
    else:
        order = rng.permutation(segments.num_sentences)
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    chosen = np.unique(np.linspace(0, len(batches) - 1, SAMPLE).astype(int)) if batches else ()
    return [segments.lengths[np.isin(segments.sentences, batches[i])] for i in chosen]


def _rows_of(
    batches: list[np.ndarray], row_length: int, always: int, blocks: Blocks | None = None
) -> int:
    """Rows of these batches, filled up to the counts that would be compiled."""
    needed = np.asarray([max(len(plan_rows(each, row_length, blocks)), 1) for each in batches])
    counts = choose_row_counts(needed, always)
    return sum(next(n for n in counts if n >= need) for need in needed.tolist())


def _summed(segments: Segments, values: np.ndarray) -> np.ndarray:
    """Values of segments, summed over those of each sentence."""
    sums = np.bincount(segments.sentences, weights=values, minlength=segments.num_sentences)
    return sums.astype(np.int64)
