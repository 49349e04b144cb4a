"""The cells of records and tables: words, tags, ids; and what is wrong with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flaxner.data.readers.source import BadCorpus, excerpt
from flaxner.data.tags import OUTSIDE, parse_tag


def as_tags(names: Sequence[str]) -> Sequence[str]:
    """The names of tag ids; bare types (O, person, location) become tags in IO."""
    others = [name for name in names if name != OUTSIDE]
    if len(others) == len(names) or any(parse_tag(name) is not None for name in others):
        return names
    return [name if name == OUTSIDE else f"I-{name}" for name in names]


def bare_note(column: object, tables: Mapping[str, Sequence[str]]) -> list[str]:
    """What `as_tags` has made of the names of a column's ids, if anything, for the notes."""
    names = tables.get(str(column), ())
    if as_tags(names) is names:
        return []
    return [f"the types of {column!r} have no prefix, so neighbours of one type are one entity"]


def named_ids(values: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """Ids -> their names; what is no id, or has no name, as it is."""
    return [
        names[value] if type(value) is int and 0 <= value < len(names) else value
        for value in values
    ]


def tag_value(
    source: Path | str, line: int, column: str, value: Any, names: Sequence[str] | None
) -> str:
    """A tag as text, whether it is written as such or as an id.

    Raises:
      ValueError: neither, or an id without a name; column and value are named.
    """
    if isinstance(value, str):
        if value[:1] == "[":
            message = f"{column!r} must hold a tag a word, not a list kept as text"
            raise BadCorpus(source, line, f"{message}: got {excerpt(value)}")
        return value.strip()
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # pandas makes floats of whole numbers
    if type(value) is not int:
        got = f"got {described(value)}"
        raise BadCorpus(source, line, f"{column!r} must hold tags or their ids: {got}")
    if names is None:
        message = f"the ids in {column!r} have no names; write tags such as B-PER"
        raise BadCorpus(source, line, message)
    if not 0 <= value < len(names):
        raise BadCorpus(source, line, f"a tag id must be below {len(names)}: got {value}")
    return names[value]


def list_value(source: Path | str, line: int, column: str, value: Any) -> list[Any]:
    """A list, as it is.

    Raises:
      ValueError: something else; column and value are named.
    """
    if isinstance(value, list):
        return value
    kept = " (a list kept as text)" if isinstance(value, str) and value[:1] == "[" else ""
    got = f"got {described(value)}{kept}"
    raise BadCorpus(source, line, f"{column!r} must be a list, an item a word: {got}")


def word_values(source: Path | str, line: int, column: str, value: Any) -> tuple[str, ...]:
    """The words of a sentence; an empty one stays empty.

    Raises:
      ValueError: no list of texts; column, place and value are named.
    """
    words = list_value(source, line, column, value)
    for at, word in enumerate(words, 1):
        if not isinstance(word, str):
            message = f"{column!r} must hold words: word {at} is {described(word)}"
            raise BadCorpus(source, line, message)
    return tuple(words)


def described(value: Any) -> str:
    """A value for a message, whatever its kind and size."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        return f"an object with {', '.join(map(str, list(value)[:5]))}"[:80]
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, bytes):
        return f"the bytes {value[:40]!r}, which are no text"
    if isinstance(value, float):
        return "NaN (a missing value)" if value != value else repr(value)
    return excerpt(str(value)[:61]) if isinstance(value, str) else str(value)[:60]
