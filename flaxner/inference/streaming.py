"""Reading, computing and answering at the same time, in constant memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")
R = TypeVar("R")


def chunks(items: Iterable[T], first: int, limit: int) -> Iterator[list[T]]:
    """Lists of items, each up to twice as long as the one before, up to `limit`."""
    rest, size = iter(items), first
    while chunk := list(itertools.islice(rest, size)):
        yield chunk
        size = min(2 * size, limit)


def overlapped(
    parts: Iterator[list[T]],
    read: Callable[[list[T]], Any],
    submit: Callable[[Any], Callable[[], list[R]]],
) -> Iterator[R]:
    """read, submit and answer every chunk, three chunks at different stages at any time.

    While the devices compute one chunk, a thread reads the next, and this one answers the last.
    """
    following = next(parts, None)
    if following is None:
        return
    first, following = following, next(parts, None)
    if following is None:  # a thread would only cost time
        yield from submit(read(first))()
        return
    with ThreadPoolExecutor(1, "flaxner-reader") as pool:
        ready: Future[Any] = pool.submit(read, first)
        answer: Callable[[], list[R]] | None = None
        while True:
            item = ready.result()
            more = following is not None
            if following is not None:
                ready, following = pool.submit(read, following), next(parts, None)
            before, answer = answer, submit(item)
            if before is not None:
                yield from before()
            if not more:
                yield from answer()
                return


def counted(items: Iterable[T], name: str, total: int | None = None) -> Iterator[T]:
    """The items as they come, counted by a bar on standard error."""
    columns = (TextColumn("{task.completed:,}"), TextColumn(name), TimeElapsedColumn())
    bars = (BarColumn(), TimeRemainingColumn()) if total is not None else ()
    with Progress(*columns, *bars, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=total)
        for item in items:
            yield item
            bar.advance(task)
