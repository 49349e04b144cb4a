"""What annotation tools export -> texts with what is marked in them, one module a tool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flaxner.data.readers import label_studio, prodigy, spacy_json
from flaxner.data.readers.source import Notes, Raw, ReadOptions
from flaxner.data.readers.spanned import Annotated, Record

Numbered = tuple[int, Record]  # a record and its line


class Tool(NamedTuple):
    """An annotation tool: whether a record is of its kind, and the reader of all of them."""

    wrote: Callable[[Record], bool]
    read: Callable[[Path | str, Sequence[Numbered], ReadOptions, Notes], Iterator[Annotated | Raw]]


TOOLS = (
    Tool(label_studio.is_task, label_studio.read_tasks),
    Tool(label_studio.is_minimal, label_studio.read_minimal),
    Tool(prodigy.wrote, prodigy.read),
    Tool(spacy_json.wrote, spacy_json.read),
)


def from_tools(
    source: Path | str, records: Iterable[tuple[int, Any]], options: ReadOptions, notes: Notes
) -> Iterator[tuple[int, Any] | Annotated | Raw]:
    """Records; in the place of those that a tool wrote stands what the tool means by them.

    Those are read together, at the end of the file: which field of a task is labelled, and
    whether two people said the same of a text, only all of them tell.

    Raises:
      ValueError: an export that cannot be read; one sentence with its line.
    """
    held: dict[Tool, list[Numbered]] = {}
    for line, record in records:
        tool = None
        if isinstance(record, dict):
            tool = next((tool for tool in TOOLS if tool.wrote(record)), None)
        if tool is None:
            yield line, record
        else:
            held.setdefault(tool, []).append((line, record))
    for tool, found in held.items():
        yield from tool.read(source, found, options, notes)
