"""Read Label Studio's JSON (tasks with annotations), JSON_MIN and CSV (one annotation per row)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

from flaxner.data.readers.label_studio_fields import UNPLACED, Fields, Marked, Task
from flaxner.data.readers.source import BadCorpus, Notes, ReadOptions
from flaxner.data.readers.spanned import Annotated, Record, Region, whole_number
from flaxner.data.readers.values import described, trimmed

# Columns of JSON_MIN and CSV other than the task's fields and the answers.
OF_ROWS = frozenset(
    ("id", "annotator", "annotation_id", "completion_id", "created_at", "updated_at")
) | {"lead_time", "agreement", "history", "inner_id", "annotators", "was_cancelled"}
SKIPPED = "tasks skipped by annotators are left out"
UNANNOTATED = "tasks without annotations are left out (predictions do not count)"
TRUTH = "tasks have several annotations: the one marked as ground truth is read"
AGREED = "tasks have several annotations that agree: they are read once"
CONTRADICTED = "tasks are left out: their annotations contradict each other, and %s"
MARK = "none or several of them are marked as ground truth"
ASK_JSON = "only the JSON export says which is the ground truth"
NO_LABEL = "regions without a label are left out"
SEVERAL = (
    "tasks are left out: one of their regions has several labels; --span-policy widen reads the "
    "first, as Label Studio's CoNLL export does"
)
ELSEWHERE = "regions outside texts (in an image or a table) are ignored"
ABOUT = "answers about regions (text areas, choices, ratings) are ignored"
UNLABELLED = (
    "tasks are left out: one of their regions has a taxonomy or another answer instead of a label"
)
QUESTIONS = frozenset(("choices", "rating", "number", "taxonomy", "datetime", "ranker"))


class Unreadable(Exception):
    """Raised to leave out a task; the message is the reason."""


def is_task(record: Record) -> bool:
    """Whether a record is a task of the JSON export."""
    answers = ("annotations", "completions", "predictions", "total_annotations")
    return isinstance(record.get("data"), dict) and any(name in record for name in answers)


def is_minimal(record: Record) -> bool:
    """Whether a record is an annotation of JSON_MIN or CSV."""
    if "annotation_id" in record and ("annotator" in record or "lead_time" in record):
        return True
    return any(_is_marked(value) and value for value in record.values())


def read_tasks(
    source: Path | str,
    records: Sequence[tuple[int, Record]],
    options: ReadOptions,
    notes: Notes,
) -> Iterator[Annotated]:
    """Yield the annotated texts of the tasks in a JSON export.

    Tasks are left out and counted if they were skipped or never annotated, or if their annotations
    contradict each other and no single one is marked as ground truth.

    Raises:
      ValueError: annotations have no content, or it is unclear which of several texts is meant.
    """
    tasks = []
    for line, record in records:
        name = f"task {record['id']}" if "id" in record else f"the task of line {line}"
        try:
            regions = _chosen(source, line, name, record, options, notes)
        except Unreadable as error:
            notes.count(str(error), name)
            continue
        tasks.append(Task(line, name, record["data"], regions))
    yield from Fields(source, options, notes).texts(tasks)


def read_minimal(
    source: Path | str,
    records: Sequence[tuple[int, Record]],
    options: ReadOptions,
    notes: Notes,
) -> Iterator[Annotated]:
    """Yield the annotated texts of JSON_MIN, or of a CSV whose cells have been parsed.

    Raises:
      ValueError: it is unclear which of several texts is meant.
    """
    columns = {key for _, record in records for key in record if _is_marked(record[key])}
    answers: dict[object, list[Task]] = {}
    for line, record in records:
        number = record.get("id")
        name = f"task {number}" if number is not None else f"the task of line {line}"
        if record.get("annotation_id", 0) is None:
            notes.count(UNANNOTATED, name)
            continue
        try:
            task = _row(source, line, name, record, columns, options, notes)
        except Unreadable as error:
            notes.count(str(error), name)
            continue
        several = number is not None and not OF_ROWS.isdisjoint(record.keys() - {"id"})
        answers.setdefault(name if several else (line, name), []).append(task)
    tasks = []
    for given in answers.values():
        if len({frozenset(task.marked) for task in given}) > 1:
            notes.count(CONTRADICTED % ASK_JSON, given[0].name)
            continue
        if len(given) > 1:
            notes.count(AGREED, given[0].name)
        tasks.append(given[0])
    yield from Fields(source, options, notes).texts(tasks)


def _row(
    source: Path | str,
    line: int,
    name: str,
    record: Record,
    columns: Set[str],
    options: ReadOptions,
    notes: Notes,
) -> Task:
    """Return an annotation of JSON_MIN, whose regions are in the given columns."""
    given = {key: record[key] for key in record if key in columns}
    results = [
        {"from_name": key, "value": value}
        for key, values in given.items()
        for value in (values if isinstance(values, list) else ())
    ]
    regions = _marked(source, line, name, results, options, notes)
    data = {k: v for k, v in record.items() if k not in OF_ROWS and k not in columns}
    # In CSV a field with the same name as an answer gets this prefix; the answer keeps its name.
    hidden = {k.removeprefix("_data_") for k in data if k.startswith("_data_")}
    return Task(line, name, {k: v for k, v in data.items() if k not in hidden}, regions)


def _is_marked(value: Any) -> bool:
    """Whether a column's value is a list of regions, at least one with labels or an answer."""
    return (
        isinstance(value, list)
        and all(isinstance(item, dict) and "start" in item for item in value)
        and any(_labels(item) is not None or QUESTIONS & item.keys() for item in value)
    )


def _chosen(
    source: Path | str,
    line: int,
    name: str,
    task: Record,
    options: ReadOptions,
    notes: Notes,
) -> tuple[Marked, ...]:
    """Return the regions of the annotation to read."""
    given = task.get("annotations", task.get("completions"))
    if not given:
        raise Unreadable(UNANNOTATED)
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        what = f"{name}: annotations must be given in full, not as ids: got {described(given)}"
        raise BadCorpus(source, line, what)
    done = [a for a in given if not (a.get("was_cancelled") or a.get("skipped"))]
    if not done:
        raise Unreadable(SKIPPED)
    truths = [a for a in done if a.get("ground_truth")]
    read = [
        _marked(source, line, name, a.get("result"), options, Notes() if i else notes)
        for i, a in enumerate(truths or done)
    ]
    if len({frozenset(regions) for regions in read}) > 1:
        raise Unreadable(CONTRADICTED % MARK)
    if len(done) > 1:
        notes.count(TRUTH if truths else AGREED, name)
    return read[0]


def _marked(
    source: Path | str,
    line: int,
    name: str,
    result: Any,
    options: ReadOptions,
    notes: Notes,
) -> tuple[Marked, ...]:
    """Return an annotation's regions that have a type and a position."""
    if not isinstance(result, list) or not all(isinstance(item, dict) for item in result):
        what = f"{name}: the result of an annotation must be a list of objects"
        raise BadCorpus(source, line, f"{what}: got {described(result)}")
    regions = []
    labelled = {_spot(item) for item in result if _labels(item.get("value")) is not None}
    for item in result:
        value, control = item.get("value"), str(item.get("from_name", ""))
        if not isinstance(value, dict) or not ("start" in value or "globalOffsets" in value):
            if str(item.get("type")).endswith("labels"):
                notes.count(ELSEWHERE)
            continue  # relations and answers about the whole text
        labels = _labels(value)
        if not labels and _is_answer(item, value):
            if _spot(item) not in labelled and options.spans_column in (None, control):
                raise Unreadable(UNLABELLED)  # a taxonomy with labeling="true", for one
            notes.count(ABOUT)
            continue
        if options.spans_column not in (None, control):
            notes.count(f"regions of controls other than {options.spans_column} are left out")
            continue
        if not labels:
            notes.count(NO_LABEL, name)
            continue
        if len(labels) > 1 and not _first_is_read(options.span_policy, name, notes):
            continue
        start, end, paragraph = _place(value)
        own = value.get("text")
        region = Region(start, end, labels[0], own if isinstance(own, str) else "")
        field = item.get("to_name")
        html = isinstance(value.get("start"), str) and whole_number(value["start"]) is None
        regions.append(Marked(str(field) if field else None, control, paragraph, html, region))
    return tuple(regions)


def _first_is_read(policy: str, name: str, notes: Notes) -> bool:
    """Whether to read the first of a region's labels; otherwise the region is left out."""
    if policy == "error":
        raise Unreadable(SEVERAL)
    done = "left out" if policy == "drop" else "read with their first label"
    notes.count(f"regions with several labels are {done}", name)
    return policy == "widen"


def _spot(item: Record) -> tuple[Any, ...]:
    """Return what a region and the answers about it have in common: their place, as exported."""
    value = item.get("value")
    value = value if isinstance(value, dict) else {}
    return tuple(str(value.get(key)) for key in ("start", "end", "startOffset", "endOffset"))


def _labels(value: Any) -> list[str] | None:
    """Return a region's distinct labels, from "labels", "hypertextlabels" or similar."""
    for key, labels in value.items() if isinstance(value, dict) else ():
        if str(key).endswith("labels") and isinstance(labels, list):
            names = (trimmed(label) for label in labels if isinstance(label, str))
            return list(dict.fromkeys(filter(None, names)))
    return None


def _is_answer(item: Record, value: Record) -> bool:
    """Whether a result is an answer about a region rather than a region."""
    kind = str(item.get("type", value.get("type", "labels"))).lower()
    questions = value.keys() & QUESTIONS
    return not kind.endswith("labels") or bool(questions) or isinstance(value.get("text"), list)


def _place(value: Record) -> tuple[int, int, int | None]:
    """Return a region's start and end, and the paragraph in which they are counted."""
    whole = value.get("globalOffsets")
    if isinstance(whole, dict):
        start, end = whole_number(whole.get("start")), whole_number(whole.get("end"))
        if start is not None and end is not None:
            return start, end, None
    start, end = whole_number(value.get("start")), whole_number(value.get("end"))
    if start is None or end is None:
        raise Unreadable(UNPLACED)
    if "startOffset" not in value:
        return start, end, None
    inner = whole_number(value.get("startOffset")), whole_number(value.get("endOffset"))
    if start != end or None in inner:
        raise Unreadable(UNPLACED)
    return *inner, start  # type: ignore[return-value]
