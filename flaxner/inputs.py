"""What a pipeline may be given to read, checked."""

from __future__ import annotations

from typing import Any


def checked(text: Any, *, split: bool) -> Any:
    """A text, or a list of words if `split`, as it came.

    Raises:
      ValueError: it is something else.
    """
    if not split and isinstance(text, str):
        _check_unicode(text)
        return text
    if split and isinstance(text, list | tuple):
        wrong = [word for word in text if not isinstance(word, str)]
        if not wrong:
            _check_unicode("".join(text))
            return text
        raise ValueError(f"a word must be a string: got {kind(wrong[0])}")
    rule = "must be a list of words" if split else "must be a string"
    hint = "" if split or not isinstance(text, list | tuple) else "; is_split_into_words=True?"
    raise ValueError(f"a text {rule}: got {kind(text)}{hint}")


def _check_unicode(text: str) -> None:
    """Half of a surrogate pair, as damaged files have it, is no character."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"a text must be Unicode: character {error.start} is {text[error.start]!a}, "
            f"half of a surrogate pair"
        ) from error


def kind(value: Any) -> str:
    """A value for a message: its type and how it begins."""
    return f"{type(value).__name__} {str(value)[:40]!r}"
