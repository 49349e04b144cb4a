"""Read JSON Lines and JSON arrays, record by record."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flaxner.data.readers.records import read_records
from flaxner.data.readers.source import (
    RECORD_LIMIT,
    BadCorpus,
    Notes,
    Raw,
    ReadOptions,
    excerpt,
    not_utf8,
    read_chunks,
    read_lines,
)

# Limits for an object written over several lines, which is parsed again at each line.
HELD_LIMIT, HELD_LINES = 1 << 16, 1000
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def detect(path: Path, head: str) -> bool:
    """Whether the file begins with an object, or with an array of objects or arrays."""
    return re.match(r'\s*(\{\s*["}]|\[\s*[\[{]|\["(.*[^\\])?",\s*\{)', head) is not None


def read(path: Path, options: ReadOptions, notes: Notes) -> Iterator[Raw]:
    """Yield the sentences of a JSON or JSON Lines file.

    Raises:
      ValueError: invalid JSON, or a record that lacks something; the message has the line.
    """
    first = next(read_chunks(path), b"").lstrip(b"\xef\xbb\xbf \t\r\n")
    # Lines such as ["a text", {"entities": ...}] are JSON Lines; [{...}, {...}] is one array.
    is_array = re.match(rb"\[\s*[\[{\]]", first) is not None
    return read_records(path, lambda: _array(path) if is_array else _lines(path), options, notes)


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield one value per line; values over several lines (indented objects) are joined."""
    begun, held = 0, ""
    for start, lines in read_lines(path, RECORD_LIMIT):
        for number, line in enumerate(lines, start):
            if not held and not line.strip():
                continue
            begun, held = (begun, f"{held}\n{line}") if held else (number, line)
            try:
                value = json.loads(held)
            except json.JSONDecodeError as error:
                # Only an object cut off at the end of the line can continue on the next one. Text
                # after a complete object (the comma of an array without brackets, say) cannot.
                cut = error.msg != "Extra data" and error.pos >= len(held.rstrip())
                if cut and len(held) < HELD_LIMIT and held.count("\n") < HELD_LINES:
                    continue
                if cut:
                    most = f"{HELD_LINES:,} lines or {HELD_LIMIT >> 10} KiB"
                    message = f"a record of more than {most} must be on one line or in a list"
                    raise BadCorpus(path, begun, message) from None
                raise _no_json(path, begun, error) from None
            except (RecursionError, ValueError) as error:
                raise BadCorpus(path, begun, f"unreadable JSON: {error}") from None
            yield begun, value
            held = ""
    if held:
        raise BadCorpus(path, begun, f"the record is incomplete: {excerpt(held)}")


def _array(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the items of one array after another, with one item in memory at a time.

    Several arrays occur in concatenated files, and in files where every line is an array.
    """
    line, held, at, wanted = 1, "", 0, 0
    opened, expect_item = False, True
    for last, piece in _pieces(path):
        held, at = held[at:] + piece, 0
        if len(held) < wanted and not last:
            continue
        wanted = 0
        while True:
            begun, at = at, _skip_space(held, at)
            line += held.count("\n", begun, at)
            if at == len(held):
                break
            mark = held[at]
            if not opened:
                if mark != "[":
                    got = excerpt(held[at : at + 60])
                    message = f"only another array may follow an array: got {got}"
                    raise BadCorpus(path, line, message)
                opened, expect_item, at = True, True, at + 1
            elif expect_item and mark in "{[":
                try:
                    value, end = _DECODER.raw_decode(held, at)
                except json.JSONDecodeError as error:
                    # The rest may still be to come: try again when the text has doubled.
                    wanted = 2 * (len(held) - at)
                    if last or wanted > 2 * RECORD_LIMIT:
                        raise _no_json(path, line, error, held, at) from None
                    break
                except (RecursionError, ValueError) as error:
                    raise BadCorpus(path, line, f"unreadable JSON: {error}") from None
                yield line, value
                line += held.count("\n", at, end)
                at, expect_item = end, False
            elif mark == "," and not expect_item:
                at, expect_item = at + 1, True
            elif mark == "]":
                opened, at = False, at + 1
            else:
                got = excerpt(held[at : at + 60])
                raise BadCorpus(path, line, f"expected an object or a comma: got {got}")
    if opened:
        raise BadCorpus(path, line, "the array is incomplete: ] is missing")


def _skip_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _pieces(path: Path) -> Iterator[tuple[bool, str]]:
    """Yield (whether this is the last piece, text) for the file, piece by piece."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    line = 1
    for chunk in read_chunks(path):
        try:
            text = decoder.decode(chunk)
        except UnicodeDecodeError as error:
            line += error.object.count(b"\n", 0, error.start)
            raise not_utf8(path, line, error) from None
        line += text.count("\n")
        yield False, text
    yield True, ""


def _no_json(
    path: Path, line: int, error: json.JSONDecodeError, text: str = "", at: int = 0
) -> BadCorpus:
    within = text.count("\n", at, error.pos) if text else error.lineno - 1
    message = f"invalid JSON: {error.msg}"
    if error.msg == "Extra data":
        message += "; write one record per line, without commas between them, or all in a list"
    return BadCorpus(path, line + within, message)
