"""Choose the layout of batches: the sentence order and division of rows with the least compute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from flaxner.data.levelling import levelled_order, most_in_a_batch
from flaxner.data.packing import Blocks, choose_row_counts, plan_rows
from flaxner.data.segments import Segments

SAMPLE = 64  # batches of an epoch used to compare layouts
SHORTEST_BLOCK = 32  # tokens; attention over shorter blocks is no faster
MORE_WHOLE = 4  # number of values to try for the number of undivided rows
# Fraction of additional rows that dividing rows may cost; it saves more than that in attention.
MORE_ROWS = 0.01
LENGTHS = 16  # number of longer rows to try, up to twice as long
TILE = 8  # tokens; row lengths are multiples, for vector units
ATTENTION = 1 / 1000  # cost of attention per token and position of its row, as measured with MiniLM
WORTH_IT = 0.04  # fraction of a step that longer rows must save


class Layout(NamedTuple):
    """How sentences are put into batches and batches into rows.

    Attributes:
      level: batches are drawn to be alike, see `levelling`; otherwise freely.
      blocks: how rows are divided; None if they are not.
    """

    level: bool = False
    blocks: Blocks | None = None

    @property
    def counts(self) -> int:
        """Number of row counts to compile in any case, see `choose_row_counts`."""
        return 1 if self.level else 2


def sentence_tokens(segments: Segments) -> np.ndarray:
    """Return the tokens of every sentence, summed over its windows, (N,) int64."""
    return _summed(segments, segments.lengths)


def best_layout(segments: Segments, batch_size: int, row_length: int) -> Layout:
    """Return the layout with the fewest rows and, among those, the least attention.

    It depends on the corpus but not on the seed, so all seeds share a compiled program.

    Args:
      segments: the tokenised training corpus.
      batch_size: sentences per batch.
      row_length: tokens per row.
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


def best_row_length(segments: Segments, batch_size: int, shortest: int, multiple: int = 1) -> int:
    """Return the row length, from `shortest` to twice that, with the least compute.

    A batch of few rows wastes much if it hardly needs its last one: 32 sentences of 20 tokens need
    5.05 rows of 128, so 6, which are 84% full; 5 rows of 136 are 95% full. Like the layout, the
    choice does not depend on the seed.

    Args:
      segments: the tokenised training corpus.
      batch_size: sentences per batch.
      shortest: the row length to return unless a longer one saves a noticeable amount.
      multiple: row counts are rounded up to a multiple of this.
    """
    free, level = (_sample(segments, batch_size, level) for level in (False, True))

    def tokens(row_length: int) -> int:
        """Return the size of the sampled batches, empty places included."""
        orders = ((free, 2), (level, 1))
        rows = min(_rows_of(sample, row_length, n, multiple=multiple) for sample, n in orders)
        return rows * row_length

    real = sum(int(lengths.sum()) for lengths in level)
    if not real or real > (1 - WORTH_IT) * tokens(shortest):
        return shortest
    step = -(-shortest // (LENGTHS * TILE)) * TILE
    first = -(-(shortest + 1) // TILE) * TILE
    tried = (shortest, *range(first, 2 * shortest + 1, step))
    costs = {length: tokens(length) * (1 + ATTENTION * length) for length in tried}
    best = min(costs, key=costs.__getitem__)
    return best if costs[best] < (1 - WORTH_IT) * costs[shortest] else shortest


def _divisions(segments: Segments, batch_size: int, row_length: int) -> Iterator[Blocks]:
    """Yield rows in halves, quarters or eighths, with several numbers of undivided rows to try."""
    sizes = sentence_tokens(segments)
    for parts in (2, 4, 8):
        length = row_length // parts
        if length * parts == row_length and length >= SHORTEST_BLOCK:
            is_long = segments.lengths > length
            counts = _summed(segments, is_long)
            # Of the rows that begin with a long segment, best fit leaves at most one half empty.
            tokens = _summed(segments, np.where(is_long, segments.lengths, 0))
            by_tokens = 2 * most_in_a_batch(sizes, tokens, batch_size) // row_length + 1
            fewest = min(most_in_a_batch(sizes, counts, batch_size), by_tokens)
            yield from (Blocks(length, fewest + more) for more in range(MORE_WHOLE))


def _sample(segments: Segments, batch_size: int, level: bool) -> list[np.ndarray]:
    """Return the lengths of the segments in some batches of an epoch."""
    rng = np.random.default_rng(0)
    if level:
        order = levelled_order(sentence_tokens(segments), batch_size, rng)
    else:
        order = rng.permutation(segments.num_sentences)
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    chosen = np.unique(np.linspace(0, len(batches) - 1, SAMPLE).astype(int)) if batches else ()
    lengths, made = segments.lengths, []
    for sentences in (np.sort(batches[i]) for i in chosen):
        windows = np.searchsorted(segments.sentences, (sentences, sentences + 1))
        made.append(np.concatenate([lengths[a:b] for a, b in windows.T.tolist()]))
    return made


def _rows_of(
    batches: list[np.ndarray],
    row_length: int,
    always: int,
    blocks: Blocks | None = None,
    multiple: int = 1,
) -> int:
    """Return the number of rows of these batches, padded to the counts that would be compiled."""
    needed = np.asarray([max(len(plan_rows(each, row_length, blocks)), 1) for each in batches])
    counts = choose_row_counts(needed, always)
    used = [next(n for n in counts if n >= need) for need in needed.tolist()]
    return sum(-(-n // multiple) * multiple for n in used)


def _summed(segments: Segments, values: np.ndarray) -> np.ndarray:
    """Sum values of segments over each sentence."""
    sums = np.bincount(segments.sentences, weights=values, minlength=segments.num_sentences)
    return sums.astype(np.int64)
