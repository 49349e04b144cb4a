r"""The escapes in flaxner's own prediction files (`\u{a0}`), when such a file is read as a corpus.

Code in a text may look like an escape, so escapes are undone only in files that are clearly ours.
"""

from __future__ import annotations

from pathlib import Path

from flaxner.data.column_text import DOCUMENT_MARK, as_meant, escape, split
from flaxner.data.readers.source import Notes, read_chunks, read_lines
from flaxner.data.tags import parse_tag

MEANT = r"fields are escaped as in flaxner's prediction files (\u{a0}): the escapes are undone"
LEFT = (
    r"fields have what looks like an escape of flaxner's prediction files (\u{a0}), but nothing "
    "else shows that this is one: no escape is undone"
)
MARK = f"{DOCUMENT_MARK} O O"


def has_escapes(path: Path, word: int, tag: int, notes: Notes) -> bool:
    """Whether a column file is one of flaxner's prediction files and has escaped words or tags.

    A file counts as a prediction file if every line looks as `evaluation.predictions` writes it (a
    word and two IOB2 tags, separated by spaces and fully escaped) and if the annotated and the
    predicted tags share a type, which chunks and entities do not.

    Args:
      path: a file or pipe.
      word, tag: the columns that are read.
      notes: where the fields of these columns that look escaped are counted.

    Raises:
      ValueError: the file cannot be read.
    """
    if not any(b"\\u{" in chunk for chunk in read_chunks(path)):
        return False
    ours = True
    tags: tuple[set[str], set[str]] = set(), set()
    places: list[str] = []
    for start, lines in read_lines(path):
        for number, line in enumerate(lines, start):
            line = line.removesuffix("\r")
            if not line or line == MARK:
                continue
            row = line.split(" ")
            ours = ours and len(row) == 3 and all(map(_as_written, row))
            for own, field in zip(tags, row[1:] if ours else (), strict=False):
                own.add(field)
            if "\\u{" in line:
                fields = split(line)
                read = [fields[at] for at in (word, tag) if at < len(fields)]
                places += [f"line {number}"] * sum(as_meant(field) != field for field in read)
    ours = ours and word == 0 and _of_one_model(*tags)
    for place in places:
        notes.count(MEANT if ours else LEFT, place)
    return ours and bool(places)


def _as_written(field: str) -> bool:
    return escape(as_meant(field)) == field


def _of_one_model(annotated: set[str], predicted: set[str]) -> bool:
    """Whether both sets consist of IOB2 tags and share a type."""
    kinds: list[set[str]] = []
    for tags in (annotated, predicted):
        parsed = [parse_tag(tag) or ("", "") for tag in tags]
        if not all(prefix in ("O", "B", "I") for prefix, _ in parsed):
            return False
        kinds.append({kind for _, kind in parsed if kind})
    return bool(kinds[0] & kinds[1])
