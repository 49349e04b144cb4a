"""Pack segments into rows: plan rows by length, and fill row arrays.

Packing here is exact: a row holds whole segments, each with its own [CLS], [SEP], segment id
and positions from 0, and attention never crosses segments (see models/layers/attention.py). It is
the packing of Krell et al. 2021 (arXiv:2107.02027) with best-fit decreasing.

Rows may be divided into blocks that no segment crosses, except for the first few rows, which hold
the segments that are longer than a block. Divided rows are ordinary rows, but code that knows about
the blocks can limit attention to them.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from flaxner.data.segments import IGNORED_LABEL, Segments

THIRD_COUNT_ROWS = 200  # about the cost of a compilation, in rows of 128 on two cores
COUNT_SHARE = 0.03

Row = list[int]  # the segments of a row, in order


class Rows(NamedTuple):
    """Packed rows as arrays, all int32 of shape (B, L).

    Attributes:
      input_ids: token ids, 0 where empty.
      segment_ids: 1, 2, ... within a row, 0 = padding.
      position_ids: position within the segment.
      labels: the label, or IGNORED_LABEL.
      words: corpus-wide index of the word labelled here, or -1.
    """

    input_ids: np.ndarray
    segment_ids: np.ndarray
    position_ids: np.ndarray
    labels: np.ndarray
    words: np.ndarray


class Blocks(NamedTuple):
    """How the rows of a batch are divided.

    Attributes:
      length: tokens per block; divides the row length.
      whole: number of rows, at the beginning of the batch, that are not divided.
    """

    length: int
    whole: int


def plan_rows(lengths: np.ndarray, row_length: int, blocks: Blocks | None = None) -> list[Row]:
    """Distribute segments over rows: best-fit decreasing, ties in the given order.

    Args:
      lengths: tokens of each segment.
      row_length: tokens per row.
      blocks: how rows are divided; None if they are not.

    Returns:
      rows of indices into `lengths`; every index once.

    Raises:
      ValueError: a segment is longer than a row, or the undivided rows cannot hold all segments
        that are longer than a block.
    """
    order = np.argsort(-lengths, kind="stable")
    if blocks is None:
        return best_fit(lengths, order, row_length)
    bins = best_fit(lengths, order, blocks.length, [row_length] * blocks.whole)
    whole, each = blocks.whole, row_length // blocks.length
    groups = [bins[i : i + each] for i in range(whole, len(bins), each)]
    rows = bins[:whole] + [list(itertools.chain(*group)) for group in groups]
    while rows and not rows[-1]:
        rows.pop()
    return rows


def best_fit(
    lengths: np.ndarray, order: np.ndarray, row_length: int, begun: Sequence[int] = ()
) -> list[Row]:
    """Put segments, one after the other, into the fullest row that has room for them.

    Args:
      lengths: tokens of each segment.
      order: the order of the segments, as indices into `lengths`.
      row_length: tokens per new row.
      begun: tokens of the rows that exist from the beginning, ahead of new ones.

    Returns:
      rows of indices into `lengths`, in the order in which they were started.

    Raises:
      ValueError: a segment is longer than a row.
    """
    rows: list[Row] = [[] for _ in begun]
    open_rows: dict[int, list[int]] = defaultdict(list)  # by remaining room
    rooms = 0  # bit r is set if some row has r tokens left: one bit scan finds the best fit
    for row, room in enumerate(begun):
        open_rows[room].append(row)
        rooms |= 1 << room
    for index in order.tolist():
        length = int(lengths[index])
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            row = open_rows[room].pop()
            if not open_rows[room]:
                rooms &= ~(1 << room)
        elif length > row_length:
            raise ValueError(f"a segment of {length} tokens does not fit a row of {row_length}")
        else:
            room, row = row_length, len(rows)
            rows.append([])
        rows[row].append(index)
        open_rows[room - length].append(row)
        rooms |= 1 << (room - length)
    return rows


def fill_rows(
    segments: Segments,
    rows: Sequence[Row],
    row_length: int,
    num_rows: int | None = None,
    blocks: Blocks | None = None,
) -> Rows:
    """Write segments into row arrays.

    Args:
      segments: the tokenised corpus.
      rows: indices of segments, one list per row.
      row_length: L.
      num_rows: B; rows beyond `len(rows)` are empty; None: `len(rows)`.
      blocks: of these rows; a segment that does not fit the rest of a block begins the next one.
    """
    blocks = blocks or Blocks(row_length, len(rows))
    shape = (len(rows) if num_rows is None else num_rows, row_length)
    out = Rows(
        input_ids=np.zeros(shape, np.int32),
        segment_ids=np.zeros(shape, np.int32),
        position_ids=np.zeros(shape, np.int32),
        labels=np.full(shape, IGNORED_LABEL, np.int32),
        words=np.full(shape, -1, np.int32),
    )
    positions = np.arange(row_length, dtype=np.int32)
    for b, row in enumerate(rows):
        column = 0
        for number, index in enumerate(row, 1):
            low, high = segments.starts[index], segments.starts[index + 1]
            left = blocks.length - column % blocks.length
            if b >= blocks.whole and high - low > left:
                column += left
            place = slice(column, column + int(high - low))
            out.input_ids[b, place] = segments.input_ids[low:high]
            out.segment_ids[b, place] = number
            out.position_ids[b, place] = positions[: high - low]
            out.labels[b, place] = segments.labels[low:high]
            out.words[b, place] = segments.words[low:high]
            column = place.stop
    return out


def check_blocks(rows: Rows, blocks: Blocks) -> None:
    """Refuse rows with a segment that crosses a block boundary: attention would be cut there.

    Raises:
      ValueError: a segment crosses a block boundary.
    """
    ids_BL = rows.segment_ids[blocks.whole :]
    border = np.arange(blocks.length, ids_BL.shape[1], blocks.length)
    before, after = ids_BL[:, border - 1], ids_BL[:, border]
    if ((before == after) & (after > 0)).any():
        raise ValueError(f"a segment crosses the boundary of a block of {blocks.length} tokens")


def choose_row_counts(needed: np.ndarray, always: int = 2) -> tuple[int, ...]:
    """Choose at most three row counts that serve all batches with few rows in total.

    Each batch uses the smallest count that holds it. Every count costs one compilation, so a third
    is used only if it saves enough rows to pay for itself.

    Args:
      needed: rows that each batch needs.
      always: number of counts to use whatever they save. With 1, for batches that are alike, even
        the second is used only if it saves a sufficient fraction of the rows.

    Returns:
      ascending counts; the last is the largest number needed.
    """
    sizes, batches = np.unique(needed, return_counts=True)
    served = np.cumsum(batches)

    def total(counts: tuple[int, ...]) -> int:
        """Return the rows over all batches with the sizes at these indices."""
        before = np.concatenate([[0], served[list(counts)]])
        return int((sizes[list(counts)] * np.diff(before)).sum())

    last = len(sizes) - 1
    two = min((tuple(sorted({a, last})) for a in range(last + 1)), key=total)
    if always < 2 and total((last,)) - total(two) < COUNT_SHARE * total((last,)):
        two = (last,)
    three = min(
        ((a, b, last) for a, b in itertools.combinations(range(last), 2)), key=total, default=two
    )
    saved = total(two) - total(three)
    worth = saved >= max(THIRD_COUNT_ROWS, COUNT_SHARE * total(two))
    return tuple(int(sizes[i]) for i in (three if worth else two))
