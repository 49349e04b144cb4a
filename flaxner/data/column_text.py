r"""Write any word or tag as one column of a line that is split at white space, and read it back.

Whatever would break the line is written as `\u{HEX}`: white space and line ends of every kind,
halves of surrogate pairs, an empty word (`\u{}`), the first hyphen of the words `-X-` (conlleval's
own boundary marker) and `-DOCSTART-` (the document marker), and the backslash of a word that looks
like such an escape. Everything else is left as it is.
"""

from __future__ import annotations

import re

# \s covers less than str.split() splits at, which in turn is less than what may break a line.
_BREAKING = re.compile(r"[\s\x00-\x20\x7f-\xa0\u2028\u2029\ufeff\ud800-\udfff]")
_ESCAPE = re.compile(r"\\u\{([0-9a-f]*)\}")
DOCUMENT_MARK = "-DOCSTART-"
_BORDERS = ("-X-", DOCUMENT_MARK)


def split(line: str) -> list[str]:
    """Split a row at tabs if it has any, otherwise at runs of spaces; nowhere else."""
    line = line.rstrip(" \t\r")
    if "\t" in line:
        return line.split("\t")
    fields = line.split(" ")
    return [field for field in fields if field] if "" in fields else fields


def escape(text: str) -> str:
    """Return a word or tag as one column of a prediction file; see the module's docstring."""
    if not text:
        return "\\u{}"
    if text in _BORDERS:
        return _escaped("-") + text[1:]
    if "\\u{" in text:
        text = _ESCAPE.sub(lambda match: _escaped("\\") + match[0][1:], text)
    return _BREAKING.sub(lambda match: _escaped(match[0]), text)


def unescape(column: str) -> str:
    """Return the word or tag that `escape` wrote."""
    if "\\u{" not in column:
        return column
    return _ESCAPE.sub(lambda match: _character(match[1], match[0]), column)


def as_meant(column: str) -> str:
    """Return the word or tag if `escape` could have written this column, else the column itself."""
    text = unescape(column)
    return text if text and escape(text) == column else column


def _character(digits: str, else_: str) -> str:
    code = int(digits, 16) if digits else -1
    return chr(code) if 0 <= code < 0x110000 else else_ if digits else ""


def _escaped(character: str) -> str:
    return f"\\u{{{ord(character):x}}}"
