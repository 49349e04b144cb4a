"""`benchmark.py pipeline`: texts a second, our pipeline and torch's, in turns."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from flaxner.config.command_line import path

STRATEGY = {"aggregation_strategy": "simple"}
# What a new process does until its first answer, imports included.
FIRST = {
    "flaxner": "from flaxner import pipeline; p = pipeline('ner', model={model!r}, **{options})",
    "torch": "from transformers import pipeline; "
    "p = pipeline('ner', model={model!r}, trust_remote_code=False, **{options})",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `benchmark.py pipeline`."""
    parser.add_argument(
        "--model", type=path, required=True, help="folder or Hub name of a token classifier"
    )
    parser.add_argument(
        "--file", type=path, required=True, help="corpus; its words, joined by spaces, are read"
    )
    parser.add_argument("--texts", type=int, default=0, help="so many of them (default: all)")
    parser.add_argument("--turns", type=int, default=1, help="turns of every contender")
    parser.add_argument(
        "--batch-sizes", type=int, nargs="*", default=[1, 8, 32], help="of torch's pipeline"
    )
    parser.add_argument("--first-answer", action="store_true", help="also from process start")


def run(arguments: argparse.Namespace) -> int:
    """Measure and print one JSON object a contender; the exit code.

    Raises:
      ValueError: file or model do not fit, or torch's answers are not ours.
    """
    from flaxner.benchmark.machine import device_name
    from flaxner.data.corpus import read_corpus
    from flaxner.inference.pipeline import pipeline

    texts = [" ".join(sentence.words) for sentence in read_corpus(arguments.file)]
    texts = texts[: arguments.texts] if arguments.texts else texts
    ours = pipeline("ner", model=arguments.model, **STRATEGY)
    contenders: dict[str, Callable[[], Any]] = {"flaxner": lambda: ours(texts, truncation=True)}
    contenders |= _torch(arguments, texts)
    best = dict.fromkeys(contenders, float("inf"))
    answers = {}
    contenders["flaxner"]()  # compiles
    for _ in range(arguments.turns):
        for name, call in contenders.items():
            begin = time.perf_counter()
            answers[name] = call()
            best[name] = min(best[name], time.perf_counter() - begin)
    spans = {name: _spans(answer) for name, answer in answers.items()}
    for name, seconds in best.items():
        figure = {
            "contender": name,
            "texts_per_second": round(len(texts) / seconds, 1),
            "texts": len(texts),
            "flaxner_is_faster": round(seconds / best["flaxner"], 2),
            "same_entities": spans[name] == spans["flaxner"],
            "device": device_name(),
        }
        print(json.dumps(figure), flush=True)
    if arguments.first_answer:
        _first_answers(arguments.model, texts[0])
    return 0


def _torch(arguments: argparse.Namespace, texts: list[str]) -> dict[str, Callable[[], Any]]:
    """Torch's pipeline at several batch sizes, and at the largest with the texts sorted."""
    from transformers import pipeline

    options: dict[str, Any] = {**STRATEGY, "trust_remote_code": False}
    theirs: Any = pipeline("ner", model=arguments.model, **options)  # type: ignore[call-overload]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    largest = max(arguments.batch_sizes, default=1)

    def ordered() -> list[Any]:
        answers = theirs([texts[i] for i in order], batch_size=largest)
        by_place = dict(zip(order, answers, strict=True))
        return [by_place[i] for i in range(len(texts))]

    calls = {
        f"torch, batch {size}": lambda size=size: theirs(texts, batch_size=size)
        for size in arguments.batch_sizes
    }
    return {**calls, f"torch, batch {largest}, sorted": ordered}


def _spans(answers: list[Any]) -> list[Any]:
    return [[(e["entity_group"], e["start"], e["end"]) for e in answer] for answer in answers]


def _first_answers(model: str, text: str) -> None:
    for name, code in FIRST.items():
        program = code.format(model=model, options=STRATEGY) + f"; p({text!r})"
        seconds = []
        for _ in range(3):
            begin = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
            seconds.append(time.perf_counter() - begin)
        figure = {"contender": name, "seconds_to_first_answer": round(min(seconds), 2)}
        print(json.dumps(figure), flush=True)
