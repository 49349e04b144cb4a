"""Training batches of documents: windows, and a share of sentences alone, as `TrainBatches` are.

An epoch is a random order of the windows. As many of them as hold `share` of the sentences are
taken apart: their sentences come alone, each a segment, so that the model learns to do without
context, too. Every word is labelled once an epoch either way.

A step takes windows until it has `batch_size` sentences, and those are a few windows only, which
would leave its rows half empty. So the epoch's windows, and after them the sentences, are packed
into bins as long as a window, each into the fullest one that has room, in random order; a step
takes whole bins, in random order. What a step holds depends on seed, epoch and the corpus alone,
not on rows or devices.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Callable

import numpy as np

from flaxner.data.batches import TrainBatches
from flaxner.data.documents import DocumentSegments
from flaxner.data.packing import Row, best_fit, plan_rows

EPOCHS_KEPT = 2  # the feeding thread's epoch, and the one before

Bins = list[np.ndarray]  # segments of each bin of a step


@dataclasses.dataclass(frozen=True)
class DocumentBatches(TrainBatches):
    """The training batches of a run with document context; `segments` is `documents.joined`.

    Attributes:
      documents: the corpus in windows.
      window: tokens of a window, at most: those of a bin.
      share: share of the sentences that an epoch shows alone.
    """

    documents: DocumentSegments = dataclasses.field(kw_only=True)
    window: int = dataclasses.field(kw_only=True)
    share: float = dataclasses.field(kw_only=True)

    @property
    def described(self) -> str:
        """What a step holds, for a message; more than `batch_size` where a window alone does."""
        mean = int(self.documents.owned.sum()) / self.steps_per_epoch
        more = f" (a window holds more than --batch-size {self.batch_size})"
        return f"about {mean:.0f} sentences{more if mean > 1.5 * self.batch_size else ''}"

    @functools.cached_property
    def steps_per_epoch(self) -> int:
        """Steps in which every sentence is seen once; each has a bin at least, in every epoch."""
        sentences = int(self.documents.owned.sum())
        fewest_bins = -(-int((self.documents.plain.lengths - 2).sum()) // self.window)
        return max(min(-(-sentences // self.batch_size), fewest_bins), 1)

    def members(self, step: int) -> np.ndarray:
        """The segments of step `step`: windows, and sentences alone."""
        return np.concatenate([np.zeros(0, np.int64), *self._bins(step)])

    def fingerprint(self) -> str:
        """As that of the base, and of windows and share."""
        digest = hashlib.sha256(super().fingerprint().encode())
        digest.update(np.ascontiguousarray(self.documents.window_of).tobytes())
        digest.update(repr((self.window, self.share)).encode())
        return digest.hexdigest()

    def _rows(self, step: int) -> list[Row]:
        """Bins are rows, too, where packing anew does not save one."""
        bins = self._bins(step)
        members = np.concatenate([np.zeros(0, np.int64), *bins])
        planned = plan_rows(self.segments.lengths[members], self.row_length)
        if len(planned) < len(bins):
            return [members[row].tolist() for row in planned]
        return [segments.tolist() for segments in bins]

    def _bins(self, step: int) -> Bins:
        epoch, index = divmod(step, self.steps_per_epoch)
        return self._epoch(epoch)[index]

    @functools.cached_property
    def _epoch(self) -> Callable[[int], list[Bins]]:
        return functools.lru_cache(EPOCHS_KEPT)(self._plan)

    def _plan(self, epoch: int) -> list[Bins]:
        """The bins of every step of an epoch."""
        rng = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
        documents = self.documents
        order = rng.permutation(len(documents))
        before = np.concatenate([[0], np.cumsum(documents.owned[order])])
        apart = int(np.abs(before - self.share * before[-1]).argmin())  # windows taken apart
        alone = np.flatnonzero(np.isin(documents.window_of, order[:apart]))
        pieces = np.concatenate([order[apart:], len(documents) + rng.permutation(alone)])
        bins = best_fit(self.segments.lengths, pieces, self.window)
        shuffled = [np.asarray(bins[i]) for i in rng.permutation(len(bins))]
        counts = np.concatenate([documents.owned, documents.begins])
        return _in_steps(
            shuffled, np.asarray([counts[one].sum() for one in shuffled]), self.steps_per_epoch
        )


def _in_steps(bins: Bins, sentences: np.ndarray, steps: int) -> list[Bins]:
    """Divide bins in their order so that every step has its share of the sentences, and a bin."""
    done = np.cumsum(sentences)
    wanted = done[-1] * np.arange(1, steps) / steps
    ends = np.searchsorted(done, wanted) + 1  # the bin that reaches it is the step's last
    number = np.arange(1, steps)
    ends = np.maximum.accumulate(ends - number) + number
    ends = np.minimum(ends, len(bins) - steps + number)
    return [bins[a:b] for a, b in itertools.pairwise([0, *ends.tolist(), len(bins)])]
