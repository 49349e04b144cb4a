"""Progress output during a run: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import jax
from jax.sharding import Mesh
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from flaxner.data.batches import TrainBatches
from flaxner.data.documents import DocumentSegments
from flaxner.training.preparation import Prepared
from flaxner.wording import number_of

QUIET_SECONDS = 30.0  # between plain lines if the output is not a terminal
RECENT_STEPS = 100  # that the displayed speed is measured over


class Bar(Protocol):
    """A progress display for a loop: `TrainProgress`, or one seed's part of it."""

    def update(self, step: int, tokens: int, loss: float) -> None:
        """Report that step `step` is done; it had `tokens` real tokens."""

    def say(self, message: str) -> None:
        """Print a line above the bar."""


# (console, steps of the run, steps done before) -> a display, while entered
MakeBar = Callable[[Console, int, int], AbstractContextManager[Bar]]


class TrainProgress:
    """A progress bar with steps, loss, tokens per second and time left; a context manager."""

    def __init__(self, console: Console, total: int, done: int = 0) -> None:
        self.console, self.total = console, total
        self._live = console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not self._live,
            transient=True,
        )
        self._task = self._bar.add_task("training", total=total, completed=done, note="compiling")
        self._said = self._last = time.monotonic()
        self._start: tuple[int, float] | None = None  # the first step that ended, and when
        self._recent: deque[tuple[int, float]] = deque(maxlen=RECENT_STEPS)  # tokens, seconds
        self._first: int | None = None  # lowest number of steps done before, of several seeds

    def __enter__(self) -> TrainProgress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def update(self, step: int, tokens: int, loss: float) -> None:
        """Report that step `step` is done; it had `tokens` real tokens."""
        now = time.monotonic()
        note = f"loss {loss:.4f}"
        if self._start is None:  # most of the first step's time is compilation
            self._start = step, now
        else:
            self._recent.append((tokens, now - self._last))
            done, seconds = map(sum, zip(*self._recent, strict=True))
            note += f" · {done / max(seconds, 1e-9):,.0f} tokens/s"
        self._last = now
        self._bar.update(self._task, completed=step, note=note)
        first, began = self._start
        if not self._live and now - self._said >= QUIET_SECONDS and step > first:
            self._said = now
            left = (now - began) / (step - first) * (self.total - step)
            self.console.print(f"step {step}/{self.total} · {note} · {left:,.0f} s left")

    def part(self, title: str) -> MakeBar:
        """Return a factory for the display of one of several seeds that train together."""
        return lambda console, total, done: contextlib.nullcontext(_Part(self, title, done))

    def begin_at(self, done: int) -> None:
        """Set the number of steps done before, once it is known; the lowest value counts."""
        self._first = done if self._first is None else min(self._first, done)
        self._bar.update(self._task, completed=self._first)

    def say(self, message: str) -> None:
        """Print a line above the bar; the time since the last step does not count as training."""
        self.console.print(message)
        self._last = time.monotonic()


class _Part:
    """One seed's part of a bar."""

    def __init__(self, bar: TrainProgress, title: str, done: int) -> None:
        self._bar, self._title = bar, title
        self.update = bar.update  # the loss shown is that of the seed that reported last
        bar.begin_at(done)

    def say(self, message: str) -> None:
        """See `TrainProgress`."""
        self._bar.say(f"{self._title}: {message}")


def announce(
    prepared: Prepared,
    batches: TrainBatches,
    mesh: Mesh,
    console: Console,
    fill: float | None = None,
) -> None:
    """Print what is about to be trained and on what; `fill` overrides the fill of the batches."""
    config = prepared.config
    for split, corpus in prepared.corpora.items():
        sentences, words = number_of(len(corpus), "sentences"), number_of(corpus.words, "words")
        notes = f"{sentences}, {words}, {corpus.scheme}"
        if corpus.repaired:
            notes += f", {number_of(corpus.repaired, 'tags')} repaired"
        segments = prepared.segments[split]
        if isinstance(segments, DocumentSegments):
            notes += f", {segments.described()}"
        if segments.windowed:
            longer = number_of(segments.windowed, f"sentences over {config.max_length} tokens")
            notes += f", {longer} split into windows"
        notes = "; ".join((notes, *corpus.notes))
        console.print(f"{split}: {corpus.source}: {notes}")
    if prepared.fresh:
        console.print(f"randomly initialised (seed {config.seed}): {', '.join(prepared.fresh)}")
    for warning in prepared.warnings:
        console.print(f"note: {warning}")
    if "validation" not in prepared.corpora:
        console.print(
            "no validation corpus: the last model is kept (--held-out 0.1 holds out part of the "
            "training corpus, --cross-validation 5 splits it into folds)"
        )
    kind, many = jax.devices()[0].device_kind, jax.process_count()
    console.print(
        f"{config.model} on {mesh.size} x {kind}"
        + (f" in {many} processes" if many > 1 else "")
        + f", {config.precision}: "
        f"{number_of(batches.num_steps, 'steps')} of {batches.described}, "
        f"rows of {config.row_length} tokens, {batches.fill() if fill is None else fill:.0%} full"
    )
