"""Batches as a pure function of (seed, step): the same plan in every process, own rows only."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from flaxner.data.layout import Layout, best_layout, sentence_tokens
from flaxner.data.levelling import levelled_order
from flaxner.data.packing import Row, Rows, choose_row_counts, fill_rows, plan_rows
from flaxner.data.segments import Segments
from flaxner.devices.processes import WHOLE, Part

EPOCHS_KEPT = 2  # the feeding thread's epoch, and the one before


@dataclasses.dataclass(frozen=True)
class TrainBatches:
    """The training batches of a run, addressed by step.

    Every epoch is an order of the sentences by (seed, epoch); `batch_size` consecutive
    sentences, with all their windows, make a step, and are packed together. The last batch of
    an epoch is filled with empty rows. Row counts come from a list of at most three, so the step
    is compiled at most three times.

    Attributes:
      segments: the tokenised training corpus.
      batch_size: sentences per step, over all devices.
      row_length: tokens of a row.
      epochs: passes over the corpus, may be fractional.
      seed: of the order.
      multiple: row counts are rounded up to a multiple of this (devices x parts of a batch).
      level: the order is drawn so that all batches fill as many rows, where that needs no more
        rows than a free one; else it is a permutation.
    """

    segments: Segments
    batch_size: int
    row_length: int
    epochs: float
    seed: int
    multiple: int = 1
    level: bool = False

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every sentence is seen once."""
        return -(-self.segments.num_sentences // self.batch_size)

    @property
    def num_steps(self) -> int:
        """Steps of the whole run."""
        return math.ceil(self.steps_per_epoch * self.epochs - 1e-9)

    @property
    def described(self) -> str:
        """What a step holds, for a message."""
        return f"{self.batch_size} sentences"

    def at(self, step: int, part: Part = WHOLE, total: int | None = None) -> Rows:
        """The rows of step `step` (0 is the first) that belong to `part`.

        Every part has the same number of rows, and the parts make the batch in order.

        Args:
          step: of the run.
          part: which share of them.
          total: rows over all parts, empty ones at the end; None: the plan's own.
        """
        rows = self._rows(step)
        if total is None:
            total = self.rounded(next(n for n in self.row_counts if n >= len(rows)))
        own = total // part.count
        first = part.index * own
        blocks = self.layout.blocks
        if blocks is not None:  # the first rows of all are whole
            blocks = blocks._replace(whole=max(blocks.whole - first, 0))
        return fill_rows(self.segments, rows[first : first + own], self.row_length, own, blocks)

    def tokens_at(self, step: int) -> int:
        """Real tokens of step `step`, over all parts."""
        return int(self.segments.lengths[self.members(step)].sum())

    def fill(self, rows: Sequence[int] | None = None) -> float:
        """Share of real tokens in the first epoch's rows; `rows` of each step if not the plan's."""
        steps = range(min(self.steps_per_epoch, self.num_steps))
        if rows is None:
            rows = [next(n for n in self.shapes if n >= self.needed[s]) for s in steps]
        slots = sum(rows[s] for s in steps)
        return sum(self.tokens_at(s) for s in steps) / max(slots * self.row_length, 1)

    @functools.cached_property
    def layout(self) -> Layout:
        """How sentences come to batches and batches to rows; the same for every seed."""
        if not self.level:
            return Layout()
        return best_layout(self.segments, self.batch_size, self.row_length)

    @property
    def shapes(self) -> tuple[int, ...]:
        """The row counts that steps come in, ascending."""
        return tuple(sorted({self.rounded(n) for n in self.row_counts}))

    @functools.cached_property
    def row_counts(self) -> tuple[int, ...]:
        """The chosen row counts before rounding; the same on any number of devices."""
        return choose_row_counts(self.needed, self.layout.counts)

    @functools.cached_property
    def needed(self) -> np.ndarray:
        """Rows that each step fills, at least 1."""
        return np.asarray([max(len(self._rows(s)), 1) for s in range(self.num_steps)])

    def fingerprint(self) -> str:
        """A digest of the tokenised corpus and the plan: equal digests, equal batches."""
        digest = hashlib.sha256()
        segments = self.segments
        for array in (segments.input_ids, segments.labels, segments.starts, segments.sentences):
            digest.update(np.ascontiguousarray(array).tobytes())
        plan = (self.batch_size, self.row_length, self.num_steps, self.seed, self.row_counts)
        digest.update(repr((*plan, self.layout) if self.level else plan).encode())
        return digest.hexdigest()

    def rounded(self, rows: int) -> int:
        """So many rows, and as many more as make whole multiples."""
        return -(-rows // self.multiple) * self.multiple

    @functools.cached_property
    def _windows_of(self) -> np.ndarray:
        bounds = np.arange(self.segments.num_sentences + 1)
        return np.searchsorted(self.segments.sentences, bounds)

    def members(self, step: int) -> np.ndarray:
        """The segments of step `step`, all windows of its sentences."""
        epoch, index = divmod(step, self.steps_per_epoch)
        order = self._order(epoch)
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        first, end = self._windows_of[chosen], self._windows_of[chosen + 1]
        return np.concatenate([np.arange(a, b) for a, b in zip(first, end, strict=True)])

    @functools.cached_property
    def _order(self) -> Callable[[int], np.ndarray]:
        return functools.lru_cache(EPOCHS_KEPT)(self._drawn)

    def _drawn(self, epoch: int) -> np.ndarray:
        """The order of the sentences in an epoch."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        if self.layout.level:
            return levelled_order(sentence_tokens(self.segments), self.batch_size, rng)
        return rng.permutation(self.segments.num_sentences)

    def _rows(self, step: int) -> list[Row]:
        members = self.members(step)
        lengths = self.segments.lengths[members]
        rows = plan_rows(lengths, self.row_length, self.layout.blocks)
        return [members[row].tolist() for row in rows]


def evaluation_batches(
    segments: Segments,
    row_length: int,
    num_rows: int,
    part: Part = WHOLE,
) -> Iterator[Rows]:
    """All segments once, packed, in batches of `num_rows` rows; the last is filled.

    Args:
      segments: the tokenised corpus.
      row_length: tokens of a row.
      num_rows: rows of a batch over all parts; a multiple of `part.count`.
      part: which share of every batch to build.
    """
    rows = plan_rows(segments.lengths, row_length)
    own = num_rows // part.count
    for begin in range(0, len(rows), num_rows):
        mine = rows[begin : begin + num_rows][part.index * own : (part.index + 1) * own]
        yield fill_rows(segments, mine, row_length, own)
