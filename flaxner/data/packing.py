"""Lengths -> a plan of packed rows; segments -> row arrays; rows -> segments.

Packing here is exact: a row holds whole segments, each with its own [CLS], [SEP], segment id
and positions from 0, and attention never crosses segments (see models/bert.py). It is the
packing of Krell et al. 2021 (arXiv:2107.02027) with best-fit decreasing.

Rows may be divided into blocks that no segment crosses, all but the first few, in which segments
are that are longer than a block. Such rows are rows like any other; but who knows of the blocks
need not look beyond them (see models/layers/attention.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from flaxner.data.segments import IGNORED_LABEL, Segments

THIRD_COUNT_ROWS = 200  # about what a compilation costs in rows of 128 on two cores
COUNT_SHARE = 0.03

Row = list[int]  # the segments of a row, in order


class Rows(NamedTuple):
    """Packed rows as arrays, all int32 of shape (B, L).

    Attributes:
      input_ids: token ids, 0 where empty.
      segment_ids: 1, 2, ... within a row, 0 = padding.
      position_ids: position within the segment.
      labels: IGNORED_LABEL where there is none.
      words: corpus-wide index of the word labelled here, else -1.
    """

    input_ids: np.ndarray
    segment_ids: np.ndarray
    position_ids: np.ndarray
    labels: np.ndarray
    words: np.ndarray


class Blocks(NamedTuple):
    """How the rows of a batch are divided.

    Attributes:
      length: tokens of a block, by which a row can be divided.
      whole: so many rows, the first, are not.
    """

    length: int
    whole: int


def plan_rows(lengths: np.ndarray, row_length: int, blocks: Blocks | None = None) -> list[Row]:
    """Distribute segments over rows: best-fit decreasing, ties in the order given.

    Args:
      lengths: tokens of each segment.
      row_length: tokens of a row.
      blocks: how rows are divided; None: not at all.

    Returns:
      rows of indices into `lengths`; every index once.

    Raises:
      ValueError: a segment longer than a row, or more of those longer than a block than rows that
        are whole hold.
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
      order: in which they come, indices into `lengths`.
      row_length: tokens of a row.
      begun: tokens of rows that are there from the beginning, before those that are begun.

    Returns:
      rows of indices into `lengths`, in the order in which they were begun.

    Raises:
      ValueError: a segment longer than a row.
    """
    longest = max([row_length, *begun])
    rows: list[Row] = [[] for _ in begun]
    open_rows: list[list[int]] = [[] for _ in range(longest + 1)]  # by the room left
    rooms = 0  # bit r is set when some row has r tokens left: the best fit is one bit scan
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
      rows: indices of segments, one list a row.
      row_length: L.
      num_rows: B; `len(rows)` if None, else the rest is empty rows.
      blocks: of these rows; one that does not fit into what is left of a block begins the next.
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
    """Refuse rows of which a segment crosses a block: attention would not see beyond it.

    Raises:
      ValueError: such rows.
    """
    ids_BL = rows.segment_ids[blocks.whole :]
    border = np.arange(blocks.length, ids_BL.shape[1], blocks.length)
    before, after = ids_BL[:, border - 1], ids_BL[:, border]
    if ((before == after) & (after > 0)).any():
        raise ValueError(f"a segment crosses a block of {blocks.length} tokens")


def choose_row_counts(needed: np.ndarray, always: int = 2) -> tuple[int, ...]:
    """The row counts, three at most, that serve all batches with few rows in total.

    Each batch takes the least count that holds it. Every count costs one compilation: hence a
    third only where it saves enough rows to pay for itself.

    Args:
      needed: rows each batch needs.
      always: so many counts are taken whatever they save; 1 where batches are alike, so that a
        second saves little: it is taken where it saves a share of the rows.

    Returns:
      ascending counts; the last is the largest need.
    """
    sizes, batches = np.unique(needed, return_counts=True)
    served = np.cumsum(batches)

    def total(counts: tuple[int, ...]) -> int:
        """Rows over all batches with the sizes of these indices."""
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
