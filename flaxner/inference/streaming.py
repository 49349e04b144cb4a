"""Reading, computing and answering at the same time, in constant memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def chunks(items: Iterable[T], first: int, limit: int) -> Iterator[list[T]]:
    """Lists of items, each up to twice as long as the one before, up to `limit`.

    Where the items fail midway, those before come first and the failure then.
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
    """read, submit and answer every chunk, three chunks at different stages at any time.

    While the devices compute one chunk, a thread reads the next, and this one answers the last.
    A failure of the parts, or of reading one, is raised when all before it is answered.
    """
    source = _Source(parts)
    first = source.take()
    following = source.take()
    if first is None or following is None:  # a thread would only cost time
        if first is not None:
            yield from submit(read(first))()
        source.end()
        return
    with ThreadPoolExecutor(1, "flaxner-reader") as pool:
        ready: Future[Any] = pool.submit(read, first)
        answer: Callable[[], list[R]] = list  # of the chunk before: none yet
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
    """Chunks in turn; a failure waits until everything before it is done."""

    def __init__(self, parts: Iterator[list[Any]]) -> None:
        self._parts = parts
        self._failure: Exception | None = None

    def take(self) -> list[Any] | None:
        """The next chunk; None: there is none, or it failed."""
        try:
            return None if self._failure else next(self._parts, None)
        except Exception as failure:
            self._failure = failure
            return None

    def end(self) -> None:
        """Raise what failed."""
        if self._failure is not None:
            raise self._failure


def many(inputs: Any) -> Iterable[Any] | None:
    """The items of an iterator or of a data set that knows only its length; else None."""
    if isinstance(inputs, bytes | Mapping):
        return None
    if isinstance(inputs, Iterable):
        return inputs
    if hasattr(inputs, "__len__") and hasattr(inputs, "__getitem__"):  # torch's map-style Dataset
        return (inputs[index] for index in range(len(inputs)))
    return None


def length_of(inputs: Any) -> int | None:
    """How many items there are; None: nothing tells."""
    return len(inputs) if hasattr(inputs, "__len__") else None


class Answers(Iterator[T]):
    """Answers as they come, which know their number where it is known.

    Args:
      items: the answers.
      length: how many; None: nothing tells.
    """

    def __init__(self, items: Iterator[T], length: int | None) -> None:
        self._items, self._length = items, length

    def __next__(self) -> T:
        return next(self._items)

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError("an iterator of unknown length has no len()")
        return self._length


def counted(items: Iterable[T], name: str, total: int | None = None) -> Iterator[T]:
    """The items as they come, counted by a bar on standard error."""
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
    silent = not console.is_terminal  # where Rich would write an empty line
    with Progress(*columns, *bars, console=console, transient=True, disable=silent) as bar:
        task = bar.add_task(name, total=total)
        for item in items:
            yield item
            bar.advance(task)
