"""Batches as a pure function of (seed, step); all processes share the plan and build own rows."""

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
from flaxner.wording import number_of

EPOCHS_KEPT = 2  # the feeding thread's epoch and the previous one


@dataclasses.dataclass(frozen=True)
class TrainBatches:
    """The training batches of a run, addressed by step.

    In each epoch the sentences come in an order that depends on (seed, epoch). Each step takes
    `batch_size` consecutive sentences, with all their windows, and packs them together. The last
    batch of an epoch is padded with empty rows. There are at most three different row counts, so
    the step is compiled at most three times.

    Attributes:
      segments: the tokenised training corpus.
      batch_size: sentences per step, over all devices.
      row_length: tokens per row.
      epochs: passes over the corpus; may be fractional.
      seed: seed of the order.
      multiple: row counts are rounded up to a multiple of this (devices x micro-batches).
      level: draw an order in which all batches fill the same number of rows, if that needs no more
        rows than a free order; otherwise the order is a random permutation.
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
        """Number of steps to see every sentence once."""
        return -(-self.segments.num_sentences // self.batch_size)

    @property
    def num_steps(self) -> int:
        """Number of steps in the run."""
        return math.ceil(self.steps_per_epoch * self.epochs - 1e-9)

    @property
    def described(self) -> str:
        """The contents of a step, for a message."""
        whole = self.segments.num_sentences
        if self.batch_size <= whole:
            return number_of(self.batch_size, "sentences")
        return f"{number_of(whole, 'sentences')}, the whole corpus (--batch-size {self.batch_size})"

    def at(self, step: int, part: Part = WHOLE, total: int | None = None) -> Rows:
        """Return the rows of a step (0 is the first) that belong to `part`.

        Every part has the same number of rows; in order, the parts form the batch.

        Args:
          step: of the run.
          part: which part of the rows to build.
          total: rows over all parts, including empty ones at the end; None: as planned.
        """
        rows = self._rows(step)
        if total is None:
            total = self.rounded(next(n for n in self.row_counts if n >= len(rows)))
        own = total // part.count
        first = part.index * own
        blocks = self.layout.blocks
        if blocks is not None:  # the first rows of the batch are undivided
            blocks = blocks._replace(whole=max(blocks.whole - first, 0))
        return fill_rows(self.segments, rows[first : first + own], self.row_length, own, blocks)

    def tokens_at(self, step: int) -> int:
        """Return the number of real tokens in a step, over all parts."""
        return int(self.segments.lengths[self.members(step)].sum())

    def fill(self, rows: Sequence[int] | None = None) -> float:
        """Return the fraction of real tokens in the first epoch's rows.

        Args:
          rows: rows of each step; None: as planned.
        """
        steps = range(min(self.steps_per_epoch, self.num_steps))
        if rows is None:
            rows = [next(n for n in self.shapes if n >= self.needed[s]) for s in steps]
        slots = sum(rows[s] for s in steps)
        return sum(self.tokens_at(s) for s in steps) / max(slots * self.row_length, 1)

    @functools.cached_property
    def layout(self) -> Layout:
        """How sentences are put into batches and batches into rows; the same for every seed."""
        if not self.level:
            return Layout()
        return best_layout(self.segments, self.batch_size, self.row_length)

    @property
    def shapes(self) -> tuple[int, ...]:
        """The row counts of all steps, ascending."""
        return tuple(sorted({self.rounded(n) for n in self.row_counts}))

    @functools.cached_property
    def row_counts(self) -> tuple[int, ...]:
        """The chosen row counts before rounding; the same on any number of devices."""
        return choose_row_counts(self.needed, self.layout.counts)

    @functools.cached_property
    def needed(self) -> np.ndarray:
        """Number of rows that each step fills, at least 1."""
        return np.asarray([max(len(self._rows(s)), 1) for s in range(self.num_steps)])

    def fingerprint(self) -> str:
        """Return a digest of the tokenised corpus and the plan; equal digests, equal batches."""
        digest = hashlib.sha256()
        segments = self.segments
        for array in (segments.input_ids, segments.labels, segments.starts, segments.sentences):
            digest.update(np.ascontiguousarray(array).tobytes())
        plan = (self.batch_size, self.row_length, self.num_steps, self.seed, self.row_counts)
        digest.update(repr((*plan, self.layout) if self.level else plan).encode())
        return digest.hexdigest()

    def rounded(self, rows: int) -> int:
        """Round a number of rows up to a multiple of `multiple`."""
        return -(-rows // self.multiple) * self.multiple

    @functools.cached_property
    def _windows_of(self) -> np.ndarray:
        bounds = np.arange(self.segments.num_sentences + 1)
        return np.searchsorted(self.segments.sentences, bounds)

    def members(self, step: int) -> np.ndarray:
        """Return the segments of a step: all windows of its sentences."""
        epoch, index = divmod(step, self.steps_per_epoch)
        order = self._order(epoch)
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        first, end = self._windows_of[chosen], self._windows_of[chosen + 1]
        return np.concatenate([np.arange(a, b) for a, b in zip(first, end, strict=True)])

    @functools.cached_property
    def _order(self) -> Callable[[int], np.ndarray]:
        return functools.lru_cache(EPOCHS_KEPT)(self._drawn)

    def _drawn(self, epoch: int) -> np.ndarray:
        """Return the order of the sentences in an epoch."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        if self.layout.level:
            return levelled_order(sentence_tokens(self.segments), self.batch_size, rng)
        return rng.permutation(self.segments.num_sentences)

    def _rows(self, step: int) -> list[Row]:
        members = self.members(step)
        lengths = self.segments.lengths[members]
        rows = plan_rows(lengths, self.row_length, self.layout.blocks)
        return [members[row].tolist() for row in rows]


def evaluation_batches(segments: Segments, row_length: int, num_rows: int) -> Iterator[Rows]:
    """Yield all segments once, packed, in batches of `num_rows` rows; the last batch is padded.

    Args:
      segments: the tokenised corpus.
      row_length: tokens per row.
      num_rows: rows per batch.
    """
    rows = plan_rows(segments.lengths, row_length)
    for begin in range(0, len(rows), num_rows):
        yield fill_rows(segments, rows[begin : begin + num_rows], row_length, num_rows)
