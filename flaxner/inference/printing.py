"""The work of scripts/predict.py: read texts and print their entities as they come."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import stat
import sys
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from flaxner.config.data import CONTEXTS
from flaxner.data.column_text import DOCUMENT_MARK, escape
from flaxner.data.tags import parse_tag
from flaxner.terminal import json_line, shown
from flaxner.typed_commands import command_line

if TYPE_CHECKING:
    from flaxner.inference.ner_pipeline import NerPipeline

FIRST_GROUP, GROUP = 32, 1024  # texts that are answered together
LOOKED_AT = 20  # lines


def print_answers(arguments: argparse.Namespace) -> None:
    """Print the entities of every text, in order.

    Raises:
      ValueError: the texts or the model cannot be read, or an option does not fit.
    """
    from flaxner.inference.opening import open_pipeline  # slow: wrong flags are reported before
    from flaxner.inference.streaming import counted

    texts = texts_from(arguments.file, arguments.texts)
    first = next(texts)  # reports a wrong file before the model is loaded
    ner = open_pipeline(
        arguments.model,
        aggregation_strategy=arguments.aggregation_strategy,
        decoder=arguments.decoder,
        engine=arguments.engine,
    )
    typed = (arguments.file == "-" or arguments.texts == ["-"]) and sys.stdin.isatty()
    marked = arguments.format == "conll"
    with contextlib.ExitStack() as stack:
        every: Iterator[str] = itertools.chain([first], texts)
        if not typed and _is_file(sys.stdout):  # where the answers cannot be seen to come
            every = stack.enter_context(contextlib.closing(counted(every, "texts read")))
        for group in _groups(every, typed, marked):
            if marked:
                _print_conll(ner, group, arguments.decoder)
            else:
                _print_group(ner, group, arguments.format)
            sys.stdout.flush()


def _is_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # without a file descriptor
        return False


def _print_group(ner: NerPipeline, texts: list[str], form: str) -> None:
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    for text, entities in zip(texts, ner(texts), strict=True):
        line = as_json(text, entities) if form == "jsonl" else ""
        print(line or as_pretty(text, entities, colour=colour))


def _print_conll(ner: NerPipeline, lines: list[str], decoder: str | None) -> None:
    """Print words and tags; the texts of a marked document are read together if training did so."""
    words = [None if _is_mark(line) else ner.split_words(line) for line in lines]
    numbers = list(itertools.accumulate(map(_is_mark, lines)))  # 0: before any mark
    texts = [own for own in words if own is not None]
    together: list[Hashable] | None = None
    if ner.context == CONTEXTS[1] and numbers[-1]:
        pairs = enumerate(zip(numbers, words, strict=True))
        together = [n or ("alone", i) for i, (n, own) in pairs if own is not None]
    tags = iter(ner.predict_words(texts, documents=together, decoder=decoder))
    for own in words:
        block = f"{DOCUMENT_MARK} O\n" if own is None else as_conll(own, next(tags))
        print(shown(block) if sys.stdout.isatty() else block)


def _is_mark(line: str) -> bool:
    return line.startswith(DOCUMENT_MARK)


def _groups(texts: Iterable[str], typed: bool, marked: bool) -> Iterator[list[str]]:
    """Yield groups of texts that are answered together; text from a keyboard is not grouped.

    If `marked`, certain lines mark the beginning of a document, which stays in one group.
    """
    size, group, within = FIRST_GROUP, list[str](), False
    for text in texts:
        begins = marked and _is_mark(text)
        if begins and len(group) >= size:
            yield group
            size, group = GROUP, []
        within = within or begins
        group.append(text)
        if typed or (len(group) >= size and not within):
            yield group
            size, group = GROUP, []
    if group:
        yield group


OUTPUT_FORMATS = ("jsonl", "conll", "pretty")
COLOURS = (44, 42, 45, 46, 43, 41)  # ANSI backgrounds: blue, green, magenta, cyan, yellow, red


def texts_from(source: str | None, given: Sequence[str]) -> Iterator[str]:
    """Yield the texts of a command line: arguments, the lines of a file, or standard input ("-").

    Empty lines are skipped.

    Raises:
      ValueError: the file cannot be read, or has no text.
    """
    if source is None and list(given) != ["-"]:
        yield from given
        return
    looks: set[str | None] = set()  # of the first lines
    texts = 0
    name = source if source not in (None, "-") else "standard input"
    try:
        with contextlib.ExitStack() as stack:
            file = sys.stdin
            if source not in (None, "-"):
                file = stack.enter_context(Path(str(source)).open(encoding="utf-8-sig"))
            for number, line in enumerate(file):
                text = line.rstrip("\r\n")
                if not number:  # standard input is not decoded as utf-8-sig
                    text = text.removeprefix("\ufeff")
                if text:
                    texts += 1
                    if texts <= LOOKED_AT:
                        looks.add(_looks_like(text))
                    if texts == LOOKED_AT:
                        _say_looks(name, looks)
                    yield text
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(f"cannot read {name}: {reason}") from error
    if not texts:
        raise ValueError(f"{name} has no text: one text per line is expected")
    if 2 < texts < LOOKED_AT:
        _say_looks(name, looks)


def _looks_like(line: str) -> str | None:
    """Return the format that a line may come from, if it looks like something else than a text."""
    fields = line.split()
    if len(fields) > 1 and parse_tag(fields[-1]) is not None:
        return "columns of words and tags"
    return "JSON Lines" if line.startswith("{") and line.endswith("}") else None


def _say_looks(name: object, looks: set[str | None]) -> None:
    """Tell the user if all of these lines look like a corpus."""
    if len(looks) == 1 and None not in looks:
        what = f"{shown(name)} looks like {looks.pop()}, but every line is read as a text"
        print(f"{what}; {command_line('evaluate')} reads corpora", file=sys.stderr)


def as_json(text: str, entities: Iterable[Mapping[str, Any]]) -> str:
    """Format a line of JSON: {"text": ..., "entities": [...]}."""
    plain = [{**entity, "score": round(float(entity["score"]), 6)} for entity in entities]
    return json_line({"text": text, "entities": plain})


def as_conll(words: Iterable[str], tags: Iterable[str]) -> str:
    """Format `word tag` lines, escaped as in prediction files."""
    rows = zip(words, tags, strict=True)
    return "".join(f"{escape(word)} {escape(tag)}\n" for word, tag in rows)


def as_pretty(text: str, entities: Iterable[Mapping[str, Any]], *, colour: bool) -> str:
    """Format the text with its entities marked: [Berlin LOC], or coloured by type."""
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
