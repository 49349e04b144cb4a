"""The queue of waiting requests, fair to small ones beside large ones."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import NamedTuple

from flaxner.serving.jobs import Job

SHARE = 32  # texts that a pass takes from a request before it is the next request's turn
MOST = 1024  # maximum number of texts in a pass
SMOOTH = 0.2  # weight of the last pass in the moving average of the rate


class Busy(Exception):
    """The queue is full.

    Attributes:
      retry_after: seconds after which there may be room again.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the server is busy: try again in {retry_after} s")
        self.retry_after = retry_after


class Taken(NamedTuple):
    """The texts of one pass, as (job, index in the job), and their number of characters."""

    texts: list[tuple[Job, int]]
    characters: int


class JobQueue:
    """Requests in turn, handed out as passes.

    While the devices are idle, waiting texts are taken at once. While they are busy, one more
    full pass may be taken, so that it is ready when they are. After a pass with several requests,
    about as many are likely to follow: the queue waits a moment for them.

    Args:
      limit: maximum number of waiting requests.
      full: number of characters that fill a pass.
      wait: length of that moment in seconds, counted from the first arrival.
    """

    def __init__(self, limit: int, full: int, wait: float) -> None:
        self.limit, self.full, self.wait = limit, full, wait
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._flying = 0  # passes that are running
        self._last = 1  # requests in the last pass
        self._rate = 0.0  # characters per second, over the last passes
        self._closed = False

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> None:
        """Add a request.

        Raises:
          Busy: the queue is full.
        """
        with self._changed:
            if len(self._jobs) >= self.limit:
                raise Busy(self._seconds())
            self._jobs.append(job)
            self._changed.notify_all()

    def drop(self, job: Job) -> None:
        """Remove a request that nobody waits for any more."""
        with self._changed:
            job.drop()
            if job in self._jobs:
                self._jobs.remove(job)

    def close(self) -> None:
        """Hand out what is still waiting, then end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self) -> Taken | None:
        """Wait for the next pass; return None once the queue is closed and empty."""
        with self._changed:
            while True:
                if not self._jobs and self._closed:
                    return None
                left = self._moment()
                if left == 0:
                    return self._fill()
                self._changed.wait(left)

    def landed(self, characters: int, seconds: float) -> None:
        """Record that the devices have finished a pass."""
        with self._changed:
            self._flying -= 1
            rate = characters / max(seconds, 1e-6)
            self._rate += (rate - self._rate) * (SMOOTH if self._rate else 1)
            self._changed.notify_all()

    def _moment(self) -> float | None:
        """Seconds until a pass may be taken; 0: now, None: not before something changes."""
        weight = self._weight()
        if not self._jobs or self._flying > 1 or (self._flying and weight < self.full):
            return None
        if self._closed or weight >= self.full or len(self._jobs) >= self._last:
            return 0
        return max(0.0, self._jobs[0].arrived + self.wait - time.monotonic())

    def _weight(self) -> int:
        """Number of waiting characters; counting stops at a full pass."""
        weight = 0
        for job in self._jobs:
            weight += sum(job.sizes[job.taken :]) + len(job.sizes) - job.taken
            if weight >= self.full:
                break
        return weight

    def _fill(self) -> Taken:
        """Take some texts of each request in turn, until the pass is full."""
        texts: list[tuple[Job, int]] = []
        weight, jobs = 0, set()
        while self._jobs and weight < self.full and len(texts) < MOST:
            job = self._jobs.popleft()
            end = min(job.taken + SHARE, len(job.texts))
            while job.taken < end and weight < self.full:
                texts.append((job, job.taken))
                weight += job.sizes[job.taken] + 1
                job.taken += 1
            jobs.add(job)
            if job.taken < len(job.texts):
                self._jobs.append(job)
        self._flying, self._last = self._flying + 1, len(jobs)
        return Taken(texts, weight)

    def _seconds(self) -> int:
        """Estimate the whole seconds until the queue is empty, from 1 to 60."""
        waits = sum(sum(job.sizes[job.taken :]) for job in self._jobs)
        return min(60, max(1, math.ceil(waits / self._rate))) if self._rate else 1
