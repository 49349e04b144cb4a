"""Training batches with document context: windows, and a fraction of sentences on their own.

An epoch is a random order of the windows. Enough of them to hold the fraction `share` of the
sentences are taken apart: their sentences come on their own, each as a segment, so that the model
also learns to work without context. Either way, every word is labelled once per epoch.

A step has about `batch_size` sentences. These are only a few windows, which would leave its rows
half empty. So the epoch's windows, and after them the single sentences, are packed in random order
into bins the size of a window, each into the fullest bin that has room; a step takes whole bins, in
random order. The contents of a step depend only on seed, epoch and corpus, not on rows or devices.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Callable

import numpy as np

from flaxner.data.batches import EPOCHS_KEPT, TrainBatches
from flaxner.data.documents import DocumentSegments
from flaxner.data.packing import Row, best_fit, plan_rows
from flaxner.wording import number_of

Bins = list[np.ndarray]  # segments of each bin of a step


@dataclasses.dataclass(frozen=True)
class DocumentBatches(TrainBatches):
    """The training batches of a run with document context; `segments` is `documents.joined`.

    Attributes:
      documents: the corpus in windows.
      window: maximum number of tokens in a window, which is the size of a bin.
      share: fraction of sentences shown on their own in each epoch.
    """

    documents: DocumentSegments = dataclasses.field(kw_only=True)
    window: int = dataclasses.field(kw_only=True)
    share: float = dataclasses.field(kw_only=True)

    @property
    def described(self) -> str:
        """The contents of a step, for a message; can be more than `batch_size` sentences."""
        mean = int(self.documents.owned.sum()) / self.steps_per_epoch
        more = f" (a window holds more than --batch-size {self.batch_size})"
        sentences = number_of(round(mean), "sentences")
        return f"about {sentences}{more if mean > 1.5 * self.batch_size else ''}"

    @functools.cached_property
    def steps_per_epoch(self) -> int:
        """Number of steps to see every sentence once; each has at least one bin, in any epoch."""
        sentences = int(self.documents.owned.sum())
        fewest_bins = -(-int((self.documents.plain.lengths - 2).sum()) // self.window)
        return max(min(-(-sentences // self.batch_size), fewest_bins), 1)

    def members(self, step: int) -> np.ndarray:
        """Return the segments of a step: windows and single sentences."""
        return np.concatenate([np.zeros(0, np.int64), *self._bins(step)])

    def fingerprint(self) -> str:
        """Return a digest that covers the base class's, the windows and the share."""
        digest = hashlib.sha256(super().fingerprint().encode())
        digest.update(np.ascontiguousarray(self.documents.window_of).tobytes())
        digest.update(repr((self.window, self.share)).encode())
        return digest.hexdigest()

    def _rows(self, step: int) -> list[Row]:
        """Use the bins as rows, unless repacking saves a row."""
        bins, members = self._bins(step), self.members(step)
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
        """Return the bins of every step of an epoch."""
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
    """Divide bins, in order, among steps of about equally many sentences and at least one bin."""
    done = np.cumsum(sentences)
    wanted = done[-1] * np.arange(1, steps) / steps
    ends = np.searchsorted(done, wanted) + 1  # a step ends with the bin that reaches its share
    number = np.arange(1, steps)
    ends = np.maximum.accumulate(ends - number) + number
    ends = np.minimum(ends, len(bins) - steps + number)
    return [bins[a:b] for a, b in itertools.pairwise([0, *ends.tolist(), len(bins)])]
