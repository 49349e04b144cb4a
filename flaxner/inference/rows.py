"""Packs segments into rows, in a few static shapes or in the cheapest shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from flaxner.data.packing import plan_rows

ROW_LENGTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)  # and the most the model accepts
PACKED_LENGTH = 128  # length of the rows that short segments are packed into
SHORT_ROW = 64  # length of the rows that short segments share if any length is possible
SMALLER = 16
NARROWER = 7 / 8  # once no segment needs more than this share of the width, rows are replanned
# In rows of this length, attention doubles the cost of a token.
ATTENTION_DOUBLES = 1024


class PackedBatch(NamedTuple):
    """Packed rows, and where their logits belong.

    Attributes:
      inputs: input_ids, segment_ids and position_ids, int32 (B, L) each.
      places: positions in the flat input of the tokens in the rows.
      cells: the flat index into (B, L) of each of these tokens.
    """

    inputs: tuple[np.ndarray, np.ndarray, np.ndarray]
    places: np.ndarray
    cells: np.ndarray


def make_batches(
    input_ids: np.ndarray,
    starts: np.ndarray,
    *,
    limit: int,
    devices: int,
    tokens_per_device: int,
) -> Iterator[PackedBatch]:
    """Pack segments into rows of a few lengths, and rows into batches of a few sizes.

    Segments of up to PACKED_LENGTH tokens share rows of that length; longer ones share rows of the
    shortest length that holds them. A request that fits a single row of 16, 32 or 64 gets one.
    """
    lengths = np.diff(starts)
    row_lengths = [n for n in ROW_LENGTHS if n < limit] + [limit]
    total = int(lengths.sum())
    floor = next((n for n in row_lengths if n >= min(total, PACKED_LENGTH)), limit)
    kinds = np.searchsorted(row_lengths, np.maximum(lengths, floor))
    for kind in np.unique(kinds):
        L = row_lengths[kind]
        members = np.flatnonzero(kinds == kind)
        rows = [[int(members[i]) for i in row] for row in plan_rows(lengths[members], L)]
        for size, group in _row_groups(rows, devices, batch_sizes(tokens_per_device, L)):
            yield _fill(input_ids, starts, group, (size, L))


def batch_sizes(tokens_per_device: int, row_length: int) -> list[int]:
    """Return how many rows per device a batch may have, from the most to one.

    A batch of one size has SMALLER times the rows of the next.
    """
    sizes = [max(1, tokens_per_device // row_length)]
    while sizes[-1] > 1:
        sizes.append(max(1, sizes[-1] // SMALLER))
    return sizes


def _row_groups(
    rows: list[list[int]], devices: int, sizes: Sequence[int]
) -> Iterator[tuple[int, list[list[int]]]]:
    """Yield batches of the largest size; what would not fill half of one comes in smaller ones."""
    place = 0
    while place < len(rows):
        left = len(rows) - place
        size = devices * next(n for n in sizes if n == 1 or left > devices * (n // 2))
        yield size, rows[place : place + size]
        place += size


def _fill(
    input_ids: np.ndarray, starts: np.ndarray, rows: list[list[int]], shape: tuple[int, int]
) -> PackedBatch:
    segments = np.concatenate(rows).astype(np.int64)
    row_sizes = [len(row) for row in rows]
    lengths = starts[segments + 1] - starts[segments]
    firsts = np.concatenate([[0], np.cumsum(row_sizes)[:-1]])  # first segment of each row
    row_of = np.repeat(np.arange(len(rows)), row_sizes)
    before = np.cumsum(lengths) - lengths
    columns = before - before[firsts][row_of]
    numbers = np.arange(len(segments)) - firsts[row_of] + 1
    position = np.arange(lengths.sum()) - np.repeat(before, lengths)
    cells = np.repeat(row_of * shape[1] + columns, lengths) + position
    places = np.repeat(starts[segments], lengths) + position
    arrays = np.zeros((3, shape[0] * shape[1]), np.int32)
    arrays[0, cells] = input_ids[places]
    arrays[1, cells] = np.repeat(numbers, lengths)
    arrays[2, cells] = position
    ids, numbered, positions = arrays.reshape(3, *shape)
    return PackedBatch((ids, numbered, positions), places, cells)


def fitted_batches(
    input_ids: np.ndarray, starts: np.ndarray, *, tokens: int
) -> Iterator[PackedBatch]:
    """Pack segments into batches of rows of any length, for programs that accept any shape.

    Rows are as long as the longest segment, and the rest of each row is filled with shorter ones;
    as the long segments are used up, rows get shorter. A request that fits one short row gets just
    that row, without padding.
    """
    if len(starts) == 2 or len(input_ids) <= SHORT_ROW:
        yield _as_it_stands(input_ids, starts)
        return
    lengths = np.diff(starts)
    left = np.arange(len(lengths))
    while len(left):
        width, rows = _planned(lengths[left])
        size = max(1, tokens // width)
        used = rows[: size * -(-_needing(width, rows, lengths[left]) // size)]
        for first in range(0, len(used), size):
            batch = [left[row].tolist() for row in used[first : first + size]]
            longest = max(int(lengths[row].sum()) for row in batch)
            yield _fill(input_ids, starts, batch, (len(batch), longest))
        left = np.delete(left, np.concatenate(used))


def _planned(lengths: np.ndarray) -> tuple[int, list[list[int]]]:
    """Plan rows of the cheaper width: the longest segment's, or SHORT_ROW if that is larger."""
    longest = int(lengths.max())
    plans = {room: plan_rows(lengths, room) for room in {longest, max(longest, SHORT_ROW)}}
    return min(plans.items(), key=lambda plan: _cost(len(plan[1]), plan[0]))


def _needing(width: int, rows: list[list[int]], lengths: np.ndarray) -> int:
    """Count the rows that need this width; the first segments of the rows get ever shorter."""
    if width <= SHORT_ROW:
        return len(rows)
    return int((lengths[[row[0] for row in rows]] > width * NARROWER).sum())


def _as_it_stands(input_ids: np.ndarray, starts: np.ndarray) -> PackedBatch:
    """Put all segments into one row, in order: like `_fill`, but with few NumPy calls."""
    every = np.arange(len(input_ids), dtype=np.int32)
    if len(starts) == 2:
        return PackedBatch((input_ids[None], np.ones_like(every)[None], every[None]), every, every)
    lengths = np.diff(starts)
    numbers = np.repeat(np.arange(1, len(starts), dtype=np.int32), lengths)
    positions = every - np.repeat(starts[:-1].astype(np.int32), lengths)
    return PackedBatch((input_ids[None], numbers[None], positions[None]), every, every)


def _cost(rows: int, length: int) -> float:
    return rows * length * (1 + length / ATTENTION_DOUBLES)
