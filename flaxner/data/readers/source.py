"""Files -> lines, bounded in memory, and errors that name file and line."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from flaxner.data.readers import streams
from flaxner.data.readers.offsets import COUNTINGS
from flaxner.data.tags import Span

# Longest line of a column file, and longest record of the others: beyond it memory is at risk.
LINE_LIMIT = 1 << 20
RECORD_LIMIT = 1 << 24
IDLE_LIMIT = 1 << 24  # comments and blank lines in a row: who goes on reading them may never end
POLICIES = ("error", "widen", "drop")
NAMED = 5  # places that a count names
# Stands for a word that is empty in the file, so that words and tags keep their places.
EMPTY_WORD = "_"
# Names of a column that tells the document of a sentence, the likelier first.
DOCUMENT_COLUMNS = ("document_id", "doc_id", "docid", "doc_key")
EMPTIED = f"words are empty and O: each is kept as {EMPTY_WORD!r}"


class BadCorpus(ValueError):
    """A fault in a corpus: one sentence with the file and, where there is one, the line."""

    def __init__(self, path: object, line: int | None, message: str) -> None:
        where = f"{path}, line {line}" if line is not None else str(path)
        super().__init__(f"{where}: {' '.join(message.split())}")


class Raw(NamedTuple):
    """What a reader yields: a sentence as it stands in the file, its tags in any scheme.

    Attributes:
      words: the words.
      tags: one a word.
      document: number or name of the document, if the file tells.
      line: where the sentence begins.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]
    document: int | str | None
    line: int


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """How a corpus is to be read where guessing is not wanted; empty: guess.

    Attributes:
      format: name of a reader.
      word_column, tag_column: name of a column, or its number: 0 is the first, -1 the last.
      text_column, spans_column: of records with text and character spans.
      sentence_column: of tables with one word a row.
      scheme: of the tags; IO: types without a prefix (person, O) are tags too.
      span_policy: what becomes of a span that cuts a word or overlaps another: error, widen
        (to whole words; the longer of two overlapping wins) or drop.
      span_offsets: how the offsets of spans are counted, one of `offsets.COUNTINGS`.
      dataset_config, dataset_revision: of data sets on the Hub.

    Raises:
      ValueError: a scheme, policy or counting that is none.
    """

    format: str | None = None
    word_column: str | None = None
    tag_column: str | None = None
    text_column: str | None = None
    spans_column: str | None = None
    sentence_column: str | None = None
    scheme: str | None = None
    span_policy: str = "error"
    span_offsets: str | None = None
    dataset_config: str | None = None
    dataset_revision: str | None = None

    def __post_init__(self) -> None:
        choices = {
            "scheme": (None, "IO"),
            "span_policy": POLICIES,
            "span_offsets": (None, *COUNTINGS),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                named = ", ".join(value for value in known if value)
                raise ValueError(f"{name} must be one of {named}: got {getattr(self, name)!r}")


READING = tuple(field.name for field in dataclasses.fields(ReadOptions))
OF_DATA_SETS = ("dataset_config", "dataset_revision")
OF_FILES = tuple(name for name in READING if name not in OF_DATA_SETS)


class Guessed(NamedTuple):
    """The columns of the tags and of the words, where the user has not named them.

    Attributes:
      among: the columns of the file.
      tags, words: number or name; None: it was named, or nothing is known of it.
    """

    among: frozenset[int | str]
    tags: int | str | None = None
    words: int | str | None = None

    def contradicts(self, other: Guessed, which: str) -> bool:
        """Whether one file was read in a column that the other has, and was not read in.

        Numbers mean the same only where there are as many columns.
        """
        mine, theirs = getattr(self, which), getattr(other, which)
        if mine is None or theirs is None or mine == theirs:
            return False
        if isinstance(mine, int) or isinstance(theirs, int):
            return self.among == other.among
        return mine in other.among or theirs in self.among


class Notes:
    """What a reader has to tell about a file: choices made, and counts of faults passed over.

    Attributes:
      choices: a sentence each.
      guessed: the columns that the reader chose.
    """

    def __init__(self) -> None:
        self.choices: list[str] = []
        self.guessed: Guessed | None = None
        self.counts: dict[str, int] = {}
        self.places: dict[str, list[str]] = {}

    def count(self, what: str, where: str = "") -> None:
        """One more of these; the first few are named, where a place is given."""
        self.counts[what] = self.counts.get(what, 0) + 1
        places = self.places.setdefault(what, [])
        if where and len(places) < NAMED:
            places.append(where)

    def passed_over(self, what: str, read: str, other: str, flag: str) -> None:
        """Of two columns whose names are likely one was read: said once."""
        said = f"the {what} are those of {read!r}; {other!r} is not read ({flag} reads it)"
        if said not in self.choices:
            self.choices.append(said)

    def lines(self) -> list[str]:
        """One sentence each."""
        return self.choices + [self._counted(what) for what in self.counts]

    def _counted(self, what: str) -> str:
        count, places = self.counts[what], self.places[what]
        more = ", ..." if places and count > len(places) else ""
        return f"{count} {what}" + (f" ({', '.join(places)}{more})" if places else "")


def read_chunks(path: Path) -> Iterator[bytes]:
    """The bytes of a file or pipe, 1 MiB at a time, decompressed.

    Raises:
      ValueError: it cannot be read.
    """
    try:
        yield from streams.read_bytes(path)
    except streams.Refused as error:
        raise BadCorpus(path, None, f"cannot read the corpus: {error}") from error
    except (OSError, EOFError, ValueError) as error:
        system = getattr(error, "strerror", None)
        reason, line = system or str(error), None if system else 1
        raise BadCorpus(path, line, f"cannot read the corpus: {reason}") from error


def local_file(path: Path) -> Path:
    """The file itself, or what came through a pipe, for readers that open it themselves.

    Raises:
      ValueError: it cannot be read.
    """
    try:
        return streams.local_file(path)
    except streams.Refused as error:
        raise BadCorpus(path, None, f"cannot read the corpus: {error}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadCorpus(path, None, f"cannot read the corpus: {reason}") from error


def read_lines(
    path: Path, limit: int = LINE_LIMIT, *, joined: bool = True
) -> Iterator[tuple[int, list[str]]]:
    """(number of the first line, lines without their ends), some at a time.

    Lines end at LF or CRLF (or CR, in a file without LF) and nowhere else: published words hold
    U+0085 and U+2028. A byte-order mark at the beginning is skipped.

    Args:
      path: a file or pipe.
      limit: bytes of the longest line.
      joined: byte-order marks of files that were joined are skipped too, at the beginning of any
        line; where one is all of a line's first field (before white space) it is a word. Not for
        what may have line breaks within a cell: there it is text, and offsets count it.

    Raises:
      ValueError: cannot be read, not UTF-8, binary, a line longer than `limit` bytes, or nothing
        but comments for too long.
    """
    number, rest, end, idle = 1, b"", b"", 0
    for chunk in read_chunks(path):
        if not end:
            if chunk[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise BadCorpus(path, 1, "the file must be UTF-8; it is UTF-16")
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
            end = b"\n" if b"\n" in chunk or b"\r" not in chunk else b"\r"
        head, mark, tail = chunk.rpartition(end)
        if not mark:
            rest += tail
        else:
            lines = _decode(path, number, rest + head, end, limit, joined)
            idle = 0 if any(line and line[0] != "#" for line in lines) else idle + len(head)
            if idle > IDLE_LIMIT:
                message = f"{IDLE_LIMIT >> 20} MiB in a row are comments and blank lines"
                raise BadCorpus(path, number, message)
            yield number, lines
            number, rest = number + len(lines), tail
        if len(rest) > limit:
            raise BadCorpus(path, number, f"a line must have at most {limit} bytes; it has more")
    if rest:
        yield number, _decode(path, number, rest, end, limit, joined)


def _decode(
    path: Path, number: int, data: bytes, end: bytes, limit: int, joined: bool
) -> list[str]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = number + data.count(end, 0, error.start)
        message = f"the file must be UTF-8; the byte {data[error.start]:#04x} is not"
        raise BadCorpus(path, line, message) from None
    if "\0" in text:
        line = number + data.count(end, 0, data.index(b"\0"))
        raise BadCorpus(path, line, "a text file is expected; it holds a zero byte")
    lines = text.split(end.decode())
    if joined and "\ufeff" in text:
        lines = [x[1:] if x[:1] == "\ufeff" and not x[1:2].isspace() else x for x in lines]
    if len(text) > limit:
        for i, line_text in enumerate(lines):
            if len(line_text) > limit:
                raise BadCorpus(path, number + i, f"a line must have at most {limit} bytes")
    return lines


def document_name(value: Any) -> int | str | None:
    """What a cell says of the document; nothing if it is empty or holds no number or text."""
    if isinstance(value, float) and value.is_integer():  # pandas' number beside an empty cell
        value = int(value)
    return value if type(value) is int or (isinstance(value, str) and value.strip()) else None


def excerpt(text: str, length: int = 60) -> str:
    """A text for a message, quoted and cut."""
    return repr(text if len(text) <= length else text[:length] + "…")


__all__ = [
    "DOCUMENT_COLUMNS",
    "LINE_LIMIT",
    "OF_DATA_SETS",
    "OF_FILES",
    "POLICIES",
    "READING",
    "RECORD_LIMIT",
    "BadCorpus",
    "Notes",
    "Raw",
    "ReadOptions",
    "Span",
    "document_name",
    "excerpt",
    "local_file",
    "read_chunks",
    "read_lines",
]
