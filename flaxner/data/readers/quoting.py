"""Quotation marks in tab-separated files: words of their own, or the quotes of CSV."""

from __future__ import annotations

from pathlib import Path

from flaxner.data.readers.source import RECORD_LIMIT, read_chunks, read_lines

QUOTED = 'fields with a quotation mark are read as quoted CSV, so """" is the word "'


def quoted_as_csv(path: Path) -> bool:
    """Whether every tab-separated field with a quotation mark is quoted as in CSV.

    Such a field is enclosed in quotation marks and its own are doubled, as pandas writes them;
    Excel also encloses fields with a comma. A single field with a quotation mark in any other place
    shows that the file is not quoted. A file without doubled marks is not taken to be quoted.

    Raises:
      ValueError: the file cannot be read.
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
    """Return the text that a field of a quoted file stands for."""
    return field[1:-1].replace('""', '"') if '"' in field else field


def _is_quoted(field: str) -> bool:
    inner = field[1:-1]
    around = len(field) > 1 and field[0] == field[-1] == '"'
    return around and ('""' in inner or "," in inner) and '"' not in inner.replace('""', "")
