"""Requests that wait, and who is next: fair to small ones beside large ones."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import NamedTuple

from flaxner.serving.jobs import Job

SHARE = 32  # texts that a request gives to a pass before the next request has its turn
MOST = 1024  # texts of a pass
SMOOTH = 0.2  # weight of the last pass in the mean rate


class Busy(Exception):
    """The queue is full.

    Attributes:
      retry_after: seconds until there may be room.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the server is busy: try again in {retry_after} s")
        self.retry_after = retry_after


class Taken(NamedTuple):
    """Texts of one pass: (job, place in the job), and their characters."""

    texts: list[tuple[Job, int]]
    characters: int


class JobQueue:
    """Requests in turn, handed out as passes.

    While the devices are idle, what is there is taken at once. While they are busy, one more
    full pass may be taken, so that it is ready when they are. When they have just answered
    several requests, more will follow them: it waits a moment for those.

    Args:
      limit: requests that may wait.
      full: characters of a full pass.
      wait: seconds of that moment, from the first arrival.
    """

    def __init__(self, limit: int, full: int, wait: float) -> None:
        self.limit, self.full, self.wait = limit, full, wait
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._flying = 0  # passes that the devices have
        self._last = 1  # requests of the last pass
        self._rate = 0.0  # characters a second, over the last passes
        self._closed = False

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> None:
        """Let a request wait.

        Raises:
          Busy: too many wait already.
        """
        with self._changed:
            if len(self._jobs) >= self.limit:
                raise Busy(self._seconds())
            self._jobs.append(job)
            self._changed.notify_all()

    def drop(self, job: Job) -> None:
        """A request that nobody waits for."""
        with self._changed:
            job.drop()
            if job in self._jobs:
                self._jobs.remove(job)

    def close(self) -> None:
        """No pass is to come after those that wait now."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self) -> Taken | None:
        """Wait for the next pass; None: the queue is closed and empty."""
        with self._changed:
            while True:
                if not self._jobs and self._closed:
                    return None
                left = self._moment()
                if left == 0:
                    return self._fill()
                self._changed.wait(left)

    def landed(self, characters: int, seconds: float) -> None:
        """The devices are done with a pass."""
        with self._changed:
            self._flying -= 1
            rate = characters / max(seconds, 1e-6)
            self._rate += (rate - self._rate) * (SMOOTH if self._rate else 1)
            self._changed.notify_all()

    def _moment(self) -> float | None:
        """Seconds until a pass may be taken: 0 is now, None is not before something changes."""
        weight = self._weight()
        if not self._jobs or self._flying > 1 or (self._flying and weight < self.full):
            return None
        if self._closed or weight >= self.full or len(self._jobs) >= self._last:
            return 0
        return max(0.0, self._jobs[0].arrived + self.wait - time.monotonic())

    def _weight(self) -> int:
        """Characters that wait, counted as far as matters."""
        weight = 0
        for job in self._jobs:
            weight += sum(job.sizes[job.taken :]) + len(job.sizes) - job.taken
            if weight >= self.full:
                break
        return weight

    def _fill(self) -> Taken:
        """Some texts of every request in turn, until the pass is full."""
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
        """Whole seconds in which what waits may be answered, from 1 to 60."""
        waits = sum(sum(job.sizes[job.taken :]) for job in self._jobs)
        return min(60, max(1, math.ceil(waits / self._rate))) if self._rate else 1
