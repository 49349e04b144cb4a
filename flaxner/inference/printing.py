"""What scripts/predict.py does: texts in, entities out, as they come."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flaxner.data.column_text import escape
from flaxner.terminal import json_line, shown

if TYPE_CHECKING:
    from flaxner.inference.pipeline import NerPipeline

FIRST_GROUP, GROUP = 32, 1024  # texts answered together


def print_answers(arguments: argparse.Namespace) -> None:
    """Print the entities of every text, in order.

    Raises:
      ValueError: texts, model or options that do not fit.
    """
    from flaxner.inference.opening import open_pipeline  # JAX: a wrong flag is answered before

    texts = texts_from(arguments.file, arguments.texts)
    first = next(texts)  # a wrong file is answered before the model is read
    ner = open_pipeline(
        arguments.model,
        aggregation_strategy=arguments.aggregation_strategy,
        decoder=arguments.decoder,
    )
    typed = arguments.file in (None, "-") and arguments.texts == ["-"] and sys.stdin.isatty()
    for group in _groups(itertools.chain([first], texts), 1 if typed else FIRST_GROUP, typed):
        _print_group(ner, group, arguments.format, arguments.decoder)


def _print_group(ner: NerPipeline, texts: list[str], form: str, decoder: str | None) -> None:
    if form == "conll":
        words = [ner.split_words(text) for text in texts]
        for pair in zip(words, ner.predict_words(words, decoder=decoder), strict=True):
            lines = as_conll(*pair)
            print(shown(lines) if sys.stdout.isatty() else lines)
    else:
        colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        for text, entities in zip(texts, ner(texts), strict=True):
            line = as_json(text, entities) if form == "jsonl" else ""
            print(line or as_pretty(text, entities, colour=colour))
    sys.stdout.flush()


def _groups(texts: Iterator[str], size: int, typed: bool) -> Iterator[list[str]]:
    while group := list(itertools.islice(texts, size)):
        yield group
        size = size if typed else GROUP


OUTPUT_FORMATS = ("jsonl", "conll", "pretty")
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
    any_text = False
    name = source if source not in (None, "-") else "standard input"
    try:
        with contextlib.ExitStack() as stack:
            file = sys.stdin
            if source not in (None, "-"):
                file = stack.enter_context(Path(str(source)).open(encoding="utf-8"))
            for line in file:
                if text := line.rstrip("\r\n"):
                    any_text = True
                    yield text
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(f"cannot read {name}: {reason}") from error
    if not any_text:
        raise ValueError(f"{name} has no text: one text a line is expected")


def as_json(text: str, entities: Iterable[Mapping[str, Any]]) -> str:
    """One line: {"text": ..., "entities": [...]}."""
    plain = [{**entity, "score": round(float(entity["score"]), 6)} for entity in entities]
    return json_line({"text": text, "entities": plain})


def as_conll(words: Iterable[str], tags: Iterable[str]) -> str:
    """`word tag` lines and an empty one, as prediction files have them."""
    rows = zip(words, tags, strict=True)
    return "".join(f"{escape(word)} {escape(tag)}\n" for word, tag in rows)


def as_pretty(text: str, entities: Iterable[Mapping[str, Any]], *, colour: bool) -> str:
    """The text with its entities marked: [Berlin LOC], coloured by type on a terminal."""
    out, place = [], 0
    for entity in entities:
        start, end = entity["start"], entity["end"]
        kind = shown(entity.get("entity_group", entity.get("entity")))
        name = shown(text[start:end])
        out.append(shown(text[place:start]))
        if colour:
            shade = COLOURS[sum(map(ord, kind)) % len(COLOURS)]
            out.append(f"\033[{shade};97m {name} \033[1m{kind}\033[22m \033[0m")
        else:
            out.append(f"[{name} {kind}]")
        place = end
    return "".join([*out, shown(text[place:])])
