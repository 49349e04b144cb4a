"""Formats that are recognised but not read, and what to do with such a file."""

from __future__ import annotations

import re
from pathlib import Path

from flaxner.data.readers.source import BadCorpus

# How a file begins, and what it is and what to do with it.
_FORMATS = (
    (
        r"#FORMAT=WebAnno TSV",
        "WebAnno TSV is not read: export CoNLL 2002, which holds the layer Named entity",
    ),
    (
        r"#begin document ",
        "CoNLL-2012, with entities in brackets such as (PERSON*, is not read: convert it to one "
        "tag per word, such as B-PERSON",
    ),
    (
        r"T\d+\t\S+ \d+ \d+[\t;]",
        "brat's standoff format is not read: convert the text and its .ann file to columns with "
        "brat's tools/anntoconll.py, and read these with --word-column 3 --tag-column 0",
    ),
    (r"<(\?xml|!DOCTYPE|html)", "XML and HTML are not read: export CoNLL columns or JSON Lines"),
    (r"sep=.\r?\n", "remove the first line, sep=, which is meant for Excel"),
    (r"(?s).{257}ustar", "it is a tar archive: unpack it and give the file inside"),
)


def refuse_foreign(path: Path, head: str) -> None:
    """Refuse a file in a format that is not read, given its beginning.

    Raises:
      ValueError: it is in such a format; the message says what to do.
    """
    for beginning, remedy in _FORMATS:
        if re.match(beginning, head):
            raise BadCorpus(path, 1, remedy)
