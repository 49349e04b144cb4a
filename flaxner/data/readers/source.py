"""Read files line by line in bounded memory; errors that name the file and line."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from flaxner.data.readers import streams
from flaxner.data.readers.offsets import COUNTINGS
from flaxner.wording import number_of

# Longest line of a column file, and longest record of other files; more could exhaust memory.
LINE_LIMIT = 1 << 20
RECORD_LIMIT = 1 << 24
IDLE_LIMIT = 1 << 24  # bytes of consecutive comments and blank lines, which could go on forever
POLICIES = ("error", "widen", "drop")
NAMED = 5  # number of places listed with a count
# Replaces a word that is empty in the file, so that words and tags stay aligned.
EMPTY_WORD = "_"
# Names of a column that identifies the document of a sentence, likeliest first.
DOCUMENT_COLUMNS = ("document_id", "doc_id", "docid", "doc_key")
EMPTIED = f"words with the tag O are empty and kept as {EMPTY_WORD!r}"


class BadCorpus(ValueError):
    """An error in a corpus: one sentence with the file and, if there is one, the line."""

    def __init__(self, path: object, line: int | None, message: str) -> None:
        where = f"{path}, line {line}" if line is not None else str(path)
        super().__init__(f"{where}: {' '.join(message.split())}")


class Raw(NamedTuple):
    """What readers yield: a sentence as it is in the file, with tags in any scheme.

    Attributes:
      words: the words.
      tags: one per word.
      document: number or name of the document, if the file has one.
      line: where the sentence begins.
    """

    words: tuple[str, ...]
    tags: tuple[str, ...]
    document: int | str | None
    line: int


@dataclasses.dataclass(frozen=True)
class ReadOptions:
    """How to read a corpus; whatever is not set is guessed.

    Attributes:
      format: name of a reader.
      word_column, tag_column: name of a column, or its number: 0 is the first, -1 the last.
      text_column, spans_column: columns of records with text and character spans.
      sentence_column: the column that numbers the sentences, in tables with one word per row.
      scheme: scheme of the tags; IO: types without a prefix (person, O) are tags too.
      span_policy: what to do with a span that cuts a word or overlaps another: error, widen
        (to whole words; of two overlapping spans the longer wins) or drop.
      span_offsets: unit of the offsets of spans, one of `offsets.COUNTINGS`.
      dataset_config, dataset_revision: configuration and revision of a data set on the Hub.

    Raises:
      ValueError: an unknown scheme, policy or unit.
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
    """The tag and word columns that were guessed because the user did not request any.

    Attributes:
      among: the columns of the file.
      tags, words: number or name; None if the user requested it, or if it is unknown.
    """

    among: frozenset[int | str]
    tags: int | str | None = None
    words: int | str | None = None

    def contradicts(self, other: Guessed, which: str) -> bool:
        """Whether one file was read from a column that the other has too but was not read from.

        Column numbers are comparable only if both files have the same columns.
        """
        mine, theirs = getattr(self, which), getattr(other, which)
        if mine is None or theirs is None or mine == theirs:
            return False
        if isinstance(mine, int) or isinstance(theirs, int):
            return self.among == other.among
        return mine in other.among or theirs in self.among


class Notes:
    """A reader's notes about a file: choices it made, and counts of faults it skipped.

    Attributes:
      choices: one sentence each.
      guessed: the columns that the reader chose.
    """

    def __init__(self) -> None:
        self.choices: list[str] = []
        self.guessed: Guessed | None = None
        self.counts: dict[str, int] = {}
        self.places: dict[str, list[str]] = {}

    def count(self, what: str, where: str = "") -> None:
        """Count one more occurrence of `what`, worded as for `number_of`.

        The first few places are listed, if given.
        """
        self.counts[what] = self.counts.get(what, 0) + 1
        places = self.places.setdefault(what, [])
        if where and len(places) < NAMED:
            places.append(where)

    def passed_over(self, what: str, read: str, other: str, flag: str) -> None:
        """Note, once, that of two columns with likely names only one is read."""
        said = f"{what} are read from {read!r}; {other!r} is ignored (use {flag} to read it)"
        if said not in self.choices:
            self.choices.append(said)

    def lines(self) -> list[str]:
        """Return all notes, one sentence each."""
        return self.choices + [self._counted(what) for what in self.counts]

    def _counted(self, what: str) -> str:
        count, places = self.counts[what], self.places[what]
        more = ", ..." if places and count > len(places) else ""
        return number_of(count, what) + (f" ({', '.join(places)}{more})" if places else "")


def read_chunks(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file or pipe, 1 MiB at a time, decompressed.

    Raises:
      ValueError: the file cannot be read.
    """
    with _refused(path):
        yield from streams.read_bytes(path)


def local_file(path: Path) -> Path:
    """Return the file, or a copy of what a pipe delivered, for readers that open it themselves.

    Raises:
      ValueError: the file cannot be read.
    """
    with _refused(path):
        return streams.local_file(path)


@contextlib.contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Say which file it is that `streams` cannot read."""
    try:
        yield
    except (streams.Refused, OSError, EOFError, ValueError) as error:
        system = getattr(error, "strerror", None)
        damaged = not system and not isinstance(error, streams.Refused)
        message = f"cannot read the corpus: {system or error}"
        raise BadCorpus(path, 1 if damaged else None, message) from error


def read_lines(
    path: Path, limit: int = LINE_LIMIT, *, joined: bool = True
) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the first line, lines without their ends), a block at a time.

    Lines end at LF or CRLF (or CR, in a file without LF) and nowhere else: published words contain
    U+0085 and U+2028. A byte-order mark at the beginning is skipped.

    Args:
      path: a file or pipe.
      limit: maximum number of bytes in a line.
      joined: also skip byte-order marks at the beginning of other lines, as left by concatenated
        files, unless the mark is the whole first field (followed by white space) and so a word.
        Not for files with line breaks within cells: there the mark is text, and offsets count it.

    Raises:
      ValueError: the file cannot be read, is not UTF-8, is binary, has a line longer than `limit`
        bytes, or too long a stretch of nothing but comments.
    """
    number, rest, end, idle = 1, b"", b"", 0
    for chunk in read_chunks(path):
        if not end:
            refuse_utf16(path, chunk)
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
            raise BadCorpus(path, number, f"a line must have at most {limit} bytes")
    if rest:
        yield number, _decode(path, number, rest, end, limit, joined)


def _decode(
    path: Path, number: int, data: bytes, end: bytes, limit: int, joined: bool
) -> list[str]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(path, number + data.count(end, 0, error.start), error) from None
    if "\0" in text:
        line = number + data.count(end, 0, data.index(b"\0"))
        raise BadCorpus(path, line, "expected a text file, but it contains a zero byte")
    lines = text.split(end.decode())
    if joined and "\ufeff" in text:
        lines = [x[1:] if x[:1] == "\ufeff" and not x[1:2].isspace() else x for x in lines]
    if len(text) > limit:
        for i, line_text in enumerate(lines):
            if len(line_text) > limit:
                raise BadCorpus(path, number + i, f"a line must have at most {limit} bytes")
    return lines


def refuse_utf16(path: Path, beginning: bytes) -> None:
    """Refuse a file in the encoding that Windows calls Unicode, given its first bytes."""
    even, odd = any(beginning[:32:2]), any(beginning[1:32:2])
    if beginning[:2] in (b"\xff\xfe", b"\xfe\xff"):
        name = "utf-32" if beginning[2:4] == b"\0\0" else "utf-16"
    elif even != odd and len(beginning) > 1:  # every other byte is zero
        name = "utf-16le" if even else "utf-16be"
    else:
        name = ""
    if name:
        message = f"the file must be UTF-8; it is {name.upper()} (iconv -f {name} -t utf-8)"
        raise BadCorpus(path, 1, message)


def not_utf8(path: Path, line: int, error: UnicodeDecodeError) -> BadCorpus:
    """Return the error for a file in another encoding."""
    message = f"the file must be UTF-8; the byte {error.object[error.start]:#04x} is not"
    advice = "in Excel, save as CSV UTF-8; otherwise iconv -f windows-1252 -t utf-8, with the name "
    advice += "of its encoding if it is not a Western European one"
    return BadCorpus(path, line, f"{message} ({advice})")


def document_name(value: Any) -> int | str | None:
    """Return the document named in a cell; None unless it holds a number or text."""
    if isinstance(value, float) and value.is_integer():  # pandas' number next to an empty cell
        value = int(value)
    return value if type(value) is int or (isinstance(value, str) and value.strip()) else None


def excerpt(text: str, length: int = 60) -> str:
    """Quote and shorten a text for a message."""
    return repr(text if len(text) <= length else text[:length] + "…")
