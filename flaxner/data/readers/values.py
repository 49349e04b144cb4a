"""Read the cells of records and tables (words, tags, ids), and report invalid ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxner.data.readers.offsets import INVISIBLE
from flaxner.data.readers.source import BadCorpus, excerpt
from flaxner.data.tags import OUTSIDE, in_other_notation, only_like_tags, parse_tag


def as_tags(names: Sequence[str]) -> Sequence[str]:
    """Return the names of tag ids; bare types (O, person, location) become IO tags."""
    names = [trimmed(name) for name in names]
    others = [name for name in names if name != OUTSIDE]
    tagged = any(parse_tag(name) is not None for name in others)
    if len(others) == len(names) or (tagged and not only_like_tags(others)):
        return names
    if in_other_notation(others):
        return names
    return [name if name == OUTSIDE else f"I-{name}" for name in names]


def bare_note(column: object, tables: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a note if `as_tags` changed the names of a column's ids."""
    names = [trimmed(name) for name in tables.get(str(column), ())]
    if as_tags(names) == names:
        return []
    return [f"the types of {column!r} have no prefix, so adjacent words of one type are one entity"]


def named_ids(values: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """Replace ids by their names; other values, and ids without a name, stay as they are."""
    return [
        names[value] if type(value) is int and 0 <= value < len(names) else value
        for value in values
    ]


def tag_value(
    source: Path | str, line: int, column: str, value: Any, names: Sequence[str] | None
) -> str:
    """Return a tag as text, whether it is stored as text or as an id.

    Raises:
      ValueError: it is neither, or an id without a name; the message has column and value.
    """
    if isinstance(value, str):
        if value[:1] == "[":
            got = f"got {described(value)}"
            raise BadCorpus(source, line, f"{column!r} must hold one tag per word: {got}")
        return trimmed(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # pandas turns whole numbers into floats
    if type(value) is not int:
        got = f"got {described(value)}"
        raise BadCorpus(source, line, f"{column!r} must hold tags or their ids: {got}")
    if names is None:
        message = (
            f"the ids in {column!r} have no names; use tags such as B-PER, or save the data set as "
            "Parquet, which keeps the names of a ClassLabel"
        )
        raise BadCorpus(source, line, message)
    if not 0 <= value < len(names):
        raise BadCorpus(source, line, f"a tag id must be below {len(names)}: got {value}")
    return names[value]


def trimmed(name: str) -> str:
    """Return a tag or type without the white space and invisible characters around it."""
    return name.strip() if name.isascii() else name.strip().strip(INVISIBLE).strip()


def list_value(source: Path | str, line: int, column: str, value: Any) -> list[Any]:
    """Return a list as it is.

    Raises:
      ValueError: the value is not a list; the message has column and value.
    """
    if isinstance(value, list):
        return value
    got = f"got {described(value)}"
    raise BadCorpus(source, line, f"{column!r} must be a list with one item per word: {got}")


def word_values(source: Path | str, line: int, column: str, value: Any) -> tuple[str, ...]:
    """Return the words of a sentence; an empty word stays empty.

    Raises:
      ValueError: the value is not a list of texts; the message has column, position and value.
    """
    words = list_value(source, line, column, value)
    for at, word in enumerate(words, 1):
        if not isinstance(word, str):
            message = f"{column!r} must hold words: word {at} is {described(word)}"
            raise BadCorpus(source, line, message)
    return tuple(words)


def described(value: Any) -> str:
    """Describe a value of any type and size for a message."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return f"an object with {', '.join(map(str, list(value)[:5]))}"[:80]
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, bytes):
        return f"the bytes {value[:40]!r}, which are not text"
    if isinstance(value, float):
        return "NaN (a missing value)" if value != value else repr(value)
    if not isinstance(value, str):
        return str(value)[:60]
    as_text = "a list stored as text; JSON Lines and Parquet keep lists"
    return excerpt(value[:61]) + (f", {as_text}" if value.startswith("[") else "")
