"""Entities as text: JSON Lines, CoNLL columns, colours."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

FORMATS = ("jsonl", "conll", "pretty")
COLOURS = (44, 42, 45, 46, 43, 41)  # ANSI backgrounds: blue, green, magenta, cyan, yellow, red


def texts_from(source: str | None, given: Sequence[str]) -> Iterator[str]:
    """The texts of a command line: arguments, the lines of a file, or "-" for standard input.

    Empty lines are left out.

    Raises:
      ValueError: a file that cannot be read, or has no text.
    """
    if source is None and list(given) != ["-"]:
        yield from given
        return
    found = False
    name = source if source not in (None, "-") else "standard input"
    try:
        with contextlib.ExitStack() as stack:
            file = sys.stdin
            if source not in (None, "-"):
                file = stack.enter_context(Path(str(source)).open(encoding="utf-8"))
            for line in file:
                if text := line.rstrip("\r\n"):
                    found = True
                    yield text
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(f"cannot read {name}: {reason}") from error
    if not found:
        raise ValueError(f"{name} has no text: one text a line is expected")


def as_json(text: str, entities: Iterable[Mapping[str, Any]]) -> str:
    """One line: {"text": ..., "entities": [...]}."""
    plain = [{**entity, "score": round(float(entity["score"]), 6)} for entity in entities]
    return json.dumps({"text": text, "entities": plain}, ensure_ascii=False)


def as_conll(words: Iterable[str], tags: Iterable[str]) -> str:
    """`word tag` lines and an empty one."""
    return "".join(f"{word} {tag}\n" for word, tag in zip(words, tags, strict=True))


def as_pretty(text: str, entities: Iterable[Mapping[str, Any]], *, colour: bool) -> str:
    """The text with its entities marked: [Berlin LOC], coloured by type on a terminal."""
    out, place = [], 0
    for entity in entities:
        start, end = entity["start"], entity["end"]
        kind = str(entity.get("entity_group", entity.get("entity")))
        out.append(text[place:start])
        if colour:
            shade = COLOURS[sum(map(ord, kind)) % len(COLOURS)]
            out.append(f"\033[{shade};97m {text[start:end]} \033[1m{kind}\033[22m \033[0m")
        else:
            out.append(f"[{text[start:end]} {kind}]")
        place = end
    return "".join([*out, text[place:]])
