"""All trackers of a run, each on its own thread, so that none can delay or end training."""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxner.tracking.reported import grouped, key
from flaxner.tracking.tracker import Session, Table, Tracker, open_tracker
from flaxner.wording import first_line

WAITING = 10_000  # lines that a tracker may fall behind
PATIENCE = 120.0  # seconds to wait for trackers at the end
SOON = 3.0  # seconds before the user is told what the run is waiting for
COLUMNS = ("type", "precision", "recall", "f1", "entities")

Say = Callable[[str], None]
Act = Callable[[Tracker], None]


class _Line:
    """One tracker and its thread; a failure is reported once and ends all reporting to it."""

    def __init__(self, name: str, session: Session, say: Say) -> None:
        self.name, self._say, self.failed, self.opened = name, say, False, False
        self._acts: queue.Queue[Act | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(
            target=self._work, args=(session,), name=f"flaxner-{name}", daemon=True
        )
        self._thread.start()

    def tell(self, act: Act | None) -> None:
        """Queue a call to the tracker; None after the last one."""
        if self.failed:
            return
        try:
            self._acts.put_nowait(act)
        except queue.Full:
            self._fail(f"it is {WAITING:,} lines behind")

    @property
    def is_busy(self) -> bool:
        """Whether calls are still pending."""
        return self._thread.is_alive() and not self.failed

    def wait(self, until: float, *, last: bool = True) -> None:
        """Wait until no call is pending or time is up; after the `last` wait, give up on it."""
        if not self.failed:
            self._thread.join(max(0.0, until - time.monotonic()))
        if self.is_busy and last:
            self._fail("it does not respond")

    def _work(self, session: Session) -> None:
        try:
            tracker = open_tracker(self.name, session)
            self.opened = True
            while not self.failed and (act := self._acts.get()) is not None:
                act(tracker)
        except BaseException as error:  # some trackers raise SystemExit
            self._fail(first_line(error))

    def _fail(self, reason: str) -> None:
        if not self.failed:
            self.failed = True
            self._say(f"stopped reporting to {self.name}: {reason}")


class Trackers:
    """The trackers that a run reports to; none if `names` is empty.

    Args:
      names: names of the trackers.
      session: the run.
      known: trackers that earlier sessions of the run have reported to.
      before: the lines of metrics.jsonl that earlier sessions have written.
      say: called with messages about failures.
    """

    def __init__(
        self,
        names: Sequence[str],
        session: Session,
        known: Iterable[str] = (),
        before: Sequence[Mapping[str, Any]] = (),
        say: Say = print,
    ) -> None:
        self._told = {key(line) for line in before}
        self._lines: list[_Line] = []
        self._say = say

        def catch_up(tracker: Tracker) -> None:  # as one call: the queue may not hold all lines
            for old in before:
                tracker.metrics(*grouped(old))

        for name in names:
            resumed = name in known
            line = _Line(name, dataclasses.replace(session, resumed=resumed), say)
            self._lines.append(line)
            if not resumed:
                line.tell(catch_up)

    @property
    def unopened(self) -> set[str]:
        """Trackers that received nothing because they could not be opened."""
        return {line.name for line in self._lines if not line.opened}

    def metrics(self, line: Mapping[str, Any]) -> None:
        """Report a line of metrics.jsonl, unless an earlier session did."""
        if key(line) not in self._told:
            step, numbers = grouped(line)
            for own in self._lines:
                own.tell(lambda tracker: tracker.metrics(step, numbers))

    def finish(self, step: int, results: Mapping[str, Any], files: Sequence[Path]) -> None:
        """Report the end of the run: its scores, per-type tables, and files."""
        scored = {split: results[split] for split in ("validation", "test") if split in results}
        best = {
            f"best/{split}_{name}": scores[f"overall_{name}"]
            for split, scores in scored.items()
            for name in ("precision", "recall", "f1", "accuracy")
        }
        # Scores first: W&B counts a table as a step, and drops what is reported for earlier ones.
        for line in self._lines if best else ():
            line.tell(lambda tracker: tracker.metrics(step, best))
        for split, scores in scored.items():
            self._table(f"types/{split}", scores["per_type"])
        for path in files:
            if path.is_file():
                for line in self._lines:
                    line.tell(lambda tracker, path=path: tracker.artefact(path))  # type: ignore[misc]

    def _table(self, name: str, per_type: Mapping[str, Mapping[str, Any]]) -> None:
        rows = [
            (kind, row["precision"], row["recall"], row["f1"], row["support"])
            for kind, row in per_type.items()
        ]
        table = Table(COLUMNS, rows)
        for line in self._lines:
            line.tell(lambda tracker: tracker.table(name, table))

    def close(self, *, ended: bool) -> None:
        """Close the trackers and wait until all is reported, up to a limit."""
        for line in self._lines:
            line.tell(lambda tracker: tracker.close(ended=ended))
            line.tell(None)
        begin = time.monotonic()
        for line in self._lines:
            line.wait(begin + SOON, last=False)
        behind = [line.name for line in self._lines if line.is_busy]
        if behind:
            self._say(f"waiting for {' and '.join(behind)}, at most {PATIENCE:g} s")
        for line in self._lines:
            line.wait(begin + PATIENCE)
