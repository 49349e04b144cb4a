"""speed.jsonl: how fast a run was; separate from metrics.jsonl because timings do not repeat."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from flaxner.runs.metrics_log import MetricsLog

FIELDS = {"step", "seconds", "tokens"}


class SpeedLog:
    """speed.jsonl: lines of step, seconds since the run began, tokens since the previous line.

    A line with 0 tokens starts a stretch: at the start of a session, and where training continues
    after an evaluation or a checkpoint. The seconds since the previous line are therefore those of
    the steps alone, including any compilation for them.

    Args:
      path: the file, which is cut after the lines of earlier steps; None writes nothing.
      first: steps done before this session.
      clock: returns the seconds since the run began, including earlier sessions.
      every: steps between lines.
    """

    def __init__(
        self, path: Path | None, first: int, clock: Callable[[], float], every: int
    ) -> None:
        self._log = MetricsLog(path, keep_lines=_lines_until(path, first))
        self._clock, self._every = clock, every
        self._tokens, self._last = 0, 0.0

    def begin(self, step: int) -> None:
        """Start a stretch: training continues after this step."""
        self._tokens = 0
        self._write(step, self._clock())

    def done(self, step: int, tokens: int, seconds: float | None = None) -> None:
        """Record a finished step and its real tokens; it ended at `seconds`, by default now."""
        self._tokens += tokens
        self._last = self._clock() if seconds is None else seconds
        if step % self._every == 0:
            self._write(step, self._last)

    @contextlib.contextmanager
    def paused(self, step: int) -> Iterator[None]:
        """Exclude what happens in this context, after this step, from the training time."""
        if self._tokens:
            self._write(step, self._last)
        self._log.sync()
        yield
        self.begin(step)

    def _write(self, step: int, seconds: float) -> None:
        self._log.write(step=step, seconds=round(seconds, 4), tokens=self._tokens)
        self._tokens = 0

    def close(self) -> None:
        """Close the file."""
        self._log.close()


def is_speed_log(path: Path) -> bool:
    """Whether a run may have written this file; a run that was killed has not recorded it."""
    try:
        with path.open("rb") as file:
            line = file.readline()
        return not line or set(json.loads(line)) == FIELDS
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _lines_until(path: Path | None, step: int) -> int:
    """Count the leading lines of the file that are complete and not from a later step."""
    if not step or path is None or not path.is_file():
        return 0
    lines = path.read_bytes().splitlines()
    return len(list(itertools.takewhile(lambda line: _is_until(line, step), lines)))


def _is_until(line: bytes, step: int) -> bool:
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
