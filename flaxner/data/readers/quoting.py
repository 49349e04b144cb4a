"""Quotation marks between tabs: words of their own, or those that CSV puts around a field."""

from __future__ import annotations

from pathlib import Path

from flaxner.data.readers.source import RECORD_LIMIT, read_chunks, read_lines

QUOTED = 'fields with a quotation mark are quoted as CSV has it, so that """" is the word "'


def quoted_as_csv(path: Path) -> bool:
    """Whether each field between tabs that has a quotation mark is quoted as CSV has it.

    Its marks are doubled and others around it, as pandas writes them; Excel puts some around a
    comma too. One field that has a mark otherwise shows that a file is not quoted so, and a file
    without a doubled mark stays as it is.

    Raises:
      ValueError: it cannot be read.
    """
    if not any(b'""' in chunk for chunk in read_chunks(path)):
        return False
    found = False
    for _, lines in read_lines(path, RECORD_LIMIT):
        for line in lines:
            if '"' not in line:
                continue
            fields = [f for f in line.rstrip(" \t\r").split("\t") if '"' in f]
            if not all(map(_is_quoted, fields)):
                return False
            found = True
    return found


def unquoted(field: str) -> str:
    """What a field of such a file stands for."""
    return field[1:-1].replace('""', '"') if '"' in field else field


def _is_quoted(field: str) -> bool:
    inner = field[1:-1]
    around = len(field) > 1 and field[0] == field[-1] == '"'
    return around and ('""' in inner or "," in inner) and '"' not in inner.replace('""', "")
