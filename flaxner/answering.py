"""What scripts/predict.py does: texts in, entities out, as they come."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterator

from flaxner.entity_output import as_conll, as_json, as_pretty, texts_from
from flaxner.exported import open_pipeline
from flaxner.pipeline import NerPipeline

FIRST_GROUP, GROUP = 32, 1024  # texts answered together


def print_answers(arguments: argparse.Namespace) -> None:
    """Print the entities of every text, in order.

    Raises:
      ValueError: texts, model or options that do not fit.
    """
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


def _print_group(ner: NerPipeline, texts: list[str], form: str, decoder: str) -> None:
    if form == "conll":
        words = [ner.split_words(text) for text in texts]
        for pair in zip(words, ner.predict_words(words, decoder=decoder), strict=True):
            print(as_conll(*pair))
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
