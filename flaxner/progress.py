"""What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

T = TypeVar("T")
QUIET_SECONDS = 30.0  # between two plain lines where the output is no terminal


class TrainProgress:
    """Steps, loss, tokens per second, time left. A context manager."""

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
        self._begin = self._said = time.monotonic()
        self._tokens, self._first = 0, done

    def __enter__(self) -> TrainProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def update(self, step: int, tokens: int, loss: float) -> None:
        """Step `step` is done; it had `tokens` real tokens."""
        now = time.monotonic()
        self._tokens += tokens
        rate = self._tokens / max(now - self._begin, 1e-9)
        note = f"loss {loss:.4f} · {rate:,.0f} tokens/s"
        self._bar.update(self._task, completed=step, note=note)
        if not self._live and now - self._said >= QUIET_SECONDS:
            self._said = now
            left = (now - self._begin) / max(step - self._first, 1) * (self.total - step)
            self.console.print(f"step {step}/{self.total} · {note} · {left:,.0f} s left")

    def say(self, message: str) -> None:
        """A line above the bar."""
        self.console.print(message, highlight=False)


def score_table(title: str, report: Mapping[str, Any]) -> Table:
    """A table of precision, recall, F1 and support per entity type and over all."""
    table = Table(title=title, title_justify="left")
    table.add_column("type")
    for name in ("precision", "recall", "F1", "support"):
        table.add_column(name, justify="right")
    for name, row in report["per_type"].items():
        scores = [f"{row[key]:.4f}" for key in ("precision", "recall", "f1")]
        table.add_row(name, *scores, f"{row['support']:,}")
    table.add_section()
    overall = [f"{report[f'overall_{key}']:.4f}" for key in ("precision", "recall", "f1")]
    support = sum(row["support"] for row in report["per_type"].values())
    table.add_row("all", *overall, f"{support:,}", style="bold")
    return table


def counted(items: Iterable[T], name: str, total: int | None = None) -> Iterator[T]:
    """The items as they come, counted by a bar on standard error."""
    columns = (TextColumn("{task.completed:,}"), TextColumn(name), TimeElapsedColumn())
    bars = (BarColumn(), TimeRemainingColumn()) if total is not None else ()
    with Progress(*columns, *bars, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=total)
        for item in items:
            yield item
            bar.advance(task)
