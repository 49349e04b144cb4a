"""Tokenises, computes and answers at the same time, in constant memory."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def chunks(items: Iterable[T], first: int, limit: int) -> Iterator[list[T]]:
    """Yield lists of items, each up to twice as long as the one before, up to `limit`.

    If the items fail midway, those before the failure are yielded first.
    """
    rest, size = iter(items), first
    while True:
        chunk: list[T] = []
        try:
            for item in itertools.islice(rest, size):
                chunk.append(item)
        except Exception:
            if chunk:
                yield chunk
            raise
        if not chunk:
            return
        yield chunk
        size = min(2 * size, limit)


def overlapped(
    parts: Iterator[list[T]],
    read: Callable[[list[T]], Any],
    submit: Callable[[Any], Callable[[], list[R]]],
) -> Iterator[R]:
    """Read, submit and answer every chunk, with three chunks in different stages at a time.

    While the devices compute one chunk, a thread reads the next, and this thread answers the one
    before. If the parts fail, or reading one of them does, everything before is answered first.
    """
    source = _Source(parts)
    first = source.take()
    following = source.take()
    if first is None or following is None:  # a thread would only add overhead
        if first is not None:
            yield from submit(read(first))()
        source.end()
        return
    with ThreadPoolExecutor(1, "flaxner-reader") as pool:
        ready: Future[Any] = pool.submit(read, first)
        answer: Callable[[], list[R]] = list  # answers the chunk before; there is none yet
        while True:
            if (failure := ready.exception()) is not None:
                yield from answer()
                raise failure
            item, last = ready.result(), following is None
            if following is not None:
                ready, following = pool.submit(read, following), source.take()
            before, answer = answer, submit(item)
            yield from before()
            if last:
                yield from answer()
                source.end()
                return


class _Source:
    """Returns chunks in turn; holds back a failure until everything before it is done."""

    def __init__(self, parts: Iterator[list[Any]]) -> None:
        self._parts = parts
        self._failure: Exception | None = None

    def take(self) -> list[Any] | None:
        """Return the next chunk, or None if there is none or it failed."""
        try:
            return None if self._failure else next(self._parts, None)
        except Exception as failure:
            self._failure = failure
            return None

    def end(self) -> None:
        """Raise the failure, if there was one."""
        if self._failure is not None:
            raise self._failure


def many(inputs: Any) -> Iterable[Any] | None:
    """Return the items of an iterable, or of a data set with just a length; None for others."""
    if isinstance(inputs, bytes | Mapping):
        return None
    if isinstance(inputs, Iterable):
        return inputs
    if hasattr(inputs, "__len__") and hasattr(inputs, "__getitem__"):  # torch's map-style Dataset
        return (inputs[index] for index in range(len(inputs)))
    return None


def length_of(inputs: Any) -> int | None:
    """Return the number of items; None if unknown."""
    return len(inputs) if hasattr(inputs, "__len__") else None


class Answers(Iterator[T]):
    """Answers as they come, with a length if it is known.

    Args:
      items: the answers.
      length: their number; None if unknown.
    """

    def __init__(self, items: Iterator[T], length: int | None) -> None:
        self._items, self._length = items, length

    def __next__(self) -> T:
        return next(self._items)

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError("an iterator of unknown length has no len()")
        return self._length


def counted(items: Iterable[T], name: str, total: int | None = None) -> Generator[T]:
    """Yield the items, with a progress bar on standard error."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.completed:,}"), TextColumn(name), TimeElapsedColumn())
    bars = (BarColumn(), TimeRemainingColumn()) if total is not None else ()
    console = Console(stderr=True)
    with Progress(
        *(*columns, *bars),
        console=console,
        transient=True,
        disable=not console.is_terminal,  # Rich would write an empty line there
        redirect_stdout=sys.stdout.isatty(),  # or what is printed to a file would go to the console
    ) as bar:
        task = bar.add_task(name, total=total)
        for item in items:
            yield item
            bar.advance(task)
