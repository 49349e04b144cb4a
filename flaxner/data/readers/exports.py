"""Turn exports of annotation tools into texts with marked regions, one module per tool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from flaxner.data.readers import label_studio, prodigy, spacy_json
from flaxner.data.readers.source import Notes, Raw, ReadOptions
from flaxner.data.readers.spanned import Annotated, Record

Numbered = tuple[int, Record]  # a record and its line


class Tool(NamedTuple):
    """An annotation tool: a test for its records, and a reader for all of them."""

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
    """Yield records as they are, and records that a tool wrote as the texts they describe.

    A tool's records are read together, at the end of the file: only all of them show which field
    of a task is labelled, and whether two annotators agree about a text.

    Raises:
      ValueError: an export cannot be read; the message has its line.
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
