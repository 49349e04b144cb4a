"""Find the field of a Label Studio task that each region lies in, and the fields' texts."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from flaxner.data.readers.offsets import as_texts_say
from flaxner.data.readers.source import BadCorpus, Notes, ReadOptions, excerpt
from flaxner.data.readers.spanned import TEXT_COLUMNS, Annotated, Record, Region, named

UNPLACED = (
    "tasks are left out: one of their regions has no position in plain text (it is in HTML, or "
    "spans paragraphs)"
)
_ADDRESS = re.compile(r"\s*((https?|s3|gs|azure-blob)://|/data/)\S*\s*")


class Marked(NamedTuple):
    """A region as exported.

    Attributes:
      field: the tag of the labelling interface that shows the text ("to_name"), if given.
      control: the tag that it was marked with ("from_name").
      paragraph: the number of the paragraph in a dialogue; otherwise None.
      html: whether its position is a path in an HTML tree.
      region: its position and type.
    """

    field: str | None
    control: str
    paragraph: int | None
    html: bool
    region: Region


@dataclasses.dataclass(frozen=True)
class Task:
    """A task with the annotation to read."""

    line: int
    name: str
    data: Record
    marked: tuple[Marked, ...]


Texts = list[str]  # the text of a field, or the paragraphs of a dialogue


class Fields:
    """Finds the labelled fields of tasks.

    A region names the interface tag that showed its text, not the data field. The two usually have
    the same name; where they do not, the region's own text shows which field it is.
    """

    def __init__(self, source: Path | str, options: ReadOptions, notes: Notes) -> None:
        self.source, self.notes, self.wanted = source, notes, options.text_column
        self.known: dict[str, str] = {}  # tag or control -> field

    def texts(self, tasks: Sequence[Task]) -> Iterator[Annotated]:
        """Yield the labelled fields of every task, each as a text.

        Raises:
          ValueError: it is unclear which text of a task is meant, or the text is an address.
        """
        placed = []
        for task in tasks:
            where = self._placed(task)
            if where is None:
                self.notes.count(UNPLACED, task.name)
            else:
                placed.append((task, where))
        labelled = list(dict.fromkeys(field for _, found in placed for field, _ in found))
        self._say(tasks, labelled)
        for number, (task, found) in enumerate(placed):
            fields = [f for f in labelled if f in task.data] if labelled else [self._plain(task)]
            for field in fields:
                texts, dialogue = _texts(task.data[field]), not isinstance(task.data[field], str)
                name = f"{task.name}, {field}" if len(labelled) > 1 else task.name
                for at, text in enumerate(texts):
                    regions = tuple(found.get((field, at), ()))
                    document = number if dialogue else None
                    yield Annotated(
                        task.line, text, regions, None, document, name, marks_reviewed=True
                    )

    def _say(self, tasks: Sequence[Task], labelled: Sequence[str]) -> None:
        controls = list(dict.fromkeys(m.control for task in tasks for m in task.marked))
        if len(controls) > 1:
            names = " and ".join(controls)
            self.notes.choices.append(
                f"regions of the controls {names} are read together; --spans-column selects one"
            )
        if len(labelled) > 1:
            names = " and ".join(labelled)
            self.notes.choices.append(
                f"the fields {names} are labelled: each is its own text; --text-column selects one"
            )

    def _placed(self, task: Task) -> dict[tuple[str, int], list[Region]] | None:
        """Return (field, paragraph) -> regions; None if one lies in HTML that is not plain text."""
        groups: dict[str, list[Marked]] = {}
        for marked in task.marked:
            groups.setdefault(marked.field or marked.control, []).append(marked)
        regions: dict[tuple[str, int], list[Region]] = {}
        for tag, group in groups.items():
            field, proven = self._field(task, tag, group)
            texts = _texts(task.data[field])
            if any(m.html for m in group) and not proven:
                return None
            if self.wanted not in (None, field):
                for _ in group:
                    self.notes.count(f"regions in fields other than {self.wanted} are left out")
                continue
            for marked in group:
                at = marked.paragraph or 0
                if at >= len(texts):
                    message = f"{task.name}: {field!r} has no paragraph {at}"
                    raise BadCorpus(self.source, task.line, message)
                regions.setdefault((field, at), []).append(marked.region)
        return regions

    def _field(self, task: Task, tag: str, group: Sequence[Marked]) -> tuple[str, bool]:
        """Return the field that a tag's regions lie in, and whether their own texts prove it."""
        dialogue = any(m.paragraph is not None for m in group)
        fields = [k for k, v in task.data.items() if _texts(v) and isinstance(v, str) != dialogue]
        if not fields or (tag in task.data and tag not in fields):
            message = f"{task.name} has regions of {tag!r}, but no field with a text for them"
            raise BadCorpus(self.source, task.line, message)
        known = self.known.get(tag, tag)
        likely = [known, *([self.wanted] if self.wanted else []), *TEXT_COLUMNS]
        ordered = [f for f in likely if f in fields]
        ordered += [f for f in fields if f not in ordered]
        proven = [f for f in ordered if _fits(_texts(task.data[f]), group)]
        field = (proven or ordered)[0]
        if len(fields) > 1 and field != known:
            if not proven and field not in likely:
                names = ", ".join(fields)
                message = (
                    f"{task.name}: the regions of {tag!r} may lie in any of the fields {names}; "
                    f"choose one with --text-column"
                )
                raise BadCorpus(self.source, task.line, message)
            why = ", as their own texts show" if proven else ""
            self.notes.choices.append(f"the regions of {tag} lie in the field {field}{why}")
        self.known[tag] = field
        text = task.data[field]
        if not proven and isinstance(text, str) and _ADDRESS.fullmatch(text):
            message = f"{task.name}: {field!r} holds the address of a text, not the text: "
            raise BadCorpus(self.source, task.line, message + excerpt(text))
        return field, bool(proven)

    def _plain(self, task: Task) -> str:
        """Return the field to read when no region in the file points to one."""
        fields = {k: v for k, v in task.data.items() if isinstance(v, str)}
        field = named(self.source, task.line, fields, self.wanted, TEXT_COLUMNS)
        if field is None and len(fields) == 1:
            field = next(iter(fields))
        if field is None:
            names = ", ".join(fields)
            message = f"{task.name}: it is unclear which field is the text; "
            message += f"choose one with --text-column: {names}"
            raise BadCorpus(self.source, task.line, message)
        return field


def _texts(value: object) -> Texts:
    """Return a text, or a dialogue's paragraphs, [{"author", "text"}, ...]; otherwise nothing."""
    if isinstance(value, str):
        return [value] if value.strip() else []
    items = value if isinstance(value, list) else []
    texts = [item.get("text") if isinstance(item, dict) else None for item in items]
    return [text for text in texts if isinstance(text, str)] if None not in texts else []


def _fits(texts: Texts, group: Sequence[Marked]) -> bool:
    """Whether the regions' own texts match what a field has at their positions."""
    if not any(m.region.text.strip() for m in group):
        return False
    for at in {m.paragraph or 0 for m in group}:
        regions = [m.region for m in group if (m.paragraph or 0) == at]
        places, own = [(r.start, r.end) for r in regions], [r.text for r in regions]
        if at >= len(texts) or not as_texts_say(texts[at], places, own):
            return False
    return True
