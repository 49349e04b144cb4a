"""`benchmark.py pipeline`: texts per second, time per answer, first answer; side by side."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from flaxner.benchmark.choices import BARE, ENGINES, STATIC
from flaxner.benchmark.contender import in_turns
from flaxner.benchmark.corpus_texts import corpus_texts
from flaxner.config.command_line import add_settings, at_least, path
from flaxner.config.train import TrainConfig
from flaxner.data.readers import OF_FILES

BLOCK = 20  # consecutive answers of a contender when answers are timed one at a time
# Seconds between blocks: ONNX Runtime's threads keep spinning for some 50 ms and would take a core
# from the next contender.
PAUSE = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of `benchmark.py pipeline`."""
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--model", type=path, help="folder or Hub name of a token classifier")
    model.add_argument(
        "--sizes",
        metavar="NAME",
        help="measure a model with random weights in the sizes of a well-known one, such as "
        "bert-base-cased or xlm-roberta-base, with a tokenizer trained on the texts: nothing is "
        "downloaded",
    )
    parser.add_argument(
        "--file",
        type=path,
        required=True,
        help="corpus whose sentences, words joined by spaces, are the texts",
    )
    parser.add_argument(
        "--texts", type=at_least(0), default=0, help="number of texts; 0: all (default: 0)"
    )
    parser.add_argument(
        "--turns", type=at_least(1), default=1, help="turns per contender (default: 1)"
    )
    parser.add_argument(
        "--engines",
        nargs="*",
        choices=tuple(ENGINES),
        default=["jax"],
        help="engines of flaxner to measure (default: jax)",
    )
    parser.add_argument(
        "--batch-sizes",
        type=at_least(1),
        nargs="*",
        default=[1, 8, 32],
        help="batch sizes of torch's pipeline; none: leave it out (default: 1 8 32)",
    )
    parser.add_argument(
        "--torch-dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="dtype of torch's pipelines (default: float32)",
    )
    parser.add_argument(
        "--onnx-runtime",
        action="store_true",
        help="also measure ONNX Runtime's bare forward pass of torch's graph, in float32 and int8",
    )
    parser.add_argument(
        "--one-at-a-time",
        type=at_least(0),
        default=0,
        metavar="N",
        help="also time N answers to single texts",
    )
    parser.add_argument(
        "--torch-compile",
        action="store_true",
        help="also measure torch's pipeline with torch.compile, once compiled",
    )
    parser.add_argument(
        "--first-answer",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="also measure the first answer from process start, with memory (default: yes)",
    )
    add_settings(parser, OF_FILES, several=False)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print one JSON object per figure, and return the exit code.

    Raises:
      ValueError: the file or model cannot be used, or a package is missing.
    """
    from flaxner.publishing import onnx
    from flaxner.publishing.verification import require

    for flag, given, packages in (
        ("--batch-sizes", arguments.batch_sizes, ("torch",)),
        ("--torch-compile", arguments.torch_compile, ("torch",)),
        ("--onnx-runtime", arguments.onnx_runtime, onnx.PACKAGES),
    ):
        if given:
            require(flag, packages)
    texts = corpus_texts(arguments)
    texts = texts[: arguments.texts] if arguments.texts else texts
    with tempfile.TemporaryDirectory() as place:
        if arguments.sizes:
            from flaxner.benchmark.random_sizes import tiny_of, write_random

            reading = {k: v for k, v in vars(arguments).items() if k in OF_FILES}
            config = TrainConfig(
                model=tiny_of(arguments.sizes), train_file=arguments.file, **reading
            )
            arguments.model = write_random(Path(place) / "model", arguments.sizes, config)
        _measure(arguments, texts, Path(place) / "export")
    return 0


def _measure(arguments: argparse.Namespace, texts: list[str], export: Path) -> None:
    """Print all figures; `export` is written if a contender needs one."""
    from flaxner.benchmark.answers import make_contenders, write_static
    from flaxner.benchmark.first_answer import first_answers

    wanted = STATIC in arguments.engines
    static = write_static(export, arguments.model, texts) if wanted else None
    contenders: dict[str, Any] = {}
    making = make_contenders(arguments, texts, static)
    for figure in in_bulk(making, contenders, arguments.turns, len(texts)):
        _print(figure)
    if not contenders:
        raise ValueError(
            "nothing to measure: name a contender with --engines, --batch-sizes or --onnx-runtime"
        )
    if arguments.one_at_a_time:
        for figure in one_at_a_time(contenders, arguments.one_at_a_time, len(texts)):
            _print(figure)
    if arguments.first_answer:
        torch = bool(arguments.batch_sizes or arguments.torch_compile)
        given = (arguments.model, texts, arguments.engines, static)
        for figure in first_answers(*given, torch=torch):
            _print(figure)


def in_bulk(
    making: Iterable[tuple[str, Any]], contenders: dict[str, Any], turns: int, texts: int
) -> Iterator[dict[str, Any]]:
    """Measure texts per second, and how many texts get the first contender's entities.

    There is a figure for each contender and turn, of its best turn so far.

    Args:
      making: names and contenders, each created when its first turn comes; its `many()` answers all
        texts.
      contenders: filled with them.
      turns: turns per contender, one contender after the other.
      texts: number of texts.
    """
    best: dict[str, float] = {}
    reference: list[Any] = []
    for turn, (name, contender) in in_turns(making, turns):
        if turn == 0:
            contender.many()  # compiles
            contenders[name] = contender
        begin = time.perf_counter()
        answers = contender.many()
        seconds = time.perf_counter() - begin
        best[name] = min(best.get(name, seconds), seconds)
        first = next(iter(best))
        figure: dict[str, Any] = {
            "contender": name,
            "turn": turn + 1,
            "texts_per_second": round(texts / best[name], 1),
            "texts": texts,
            f"{first}_is_faster": round(best[name] / best[first], 2),
        }
        if not name.startswith(BARE):
            found = spans(answers)
            reference = reference or found
            alike = [a == b for a, b in zip(found, reference, strict=True)]
            figure |= {
                "entities": sum(map(len, found)),
                "same_entities": all(alike),
                "texts_with_the_same": sum(alike),
            }
        yield figure


def one_at_a_time(contenders: dict[str, Any], count: int, texts: int) -> list[dict[str, Any]]:
    """Compute percentiles of the time per answer; contenders alternate every BLOCK answers.

    Args:
      contenders: name -> contender; its `one(i)` answers text number i, or is None.
      count: answers per contender.
      texts: number of texts.
    """
    import numpy as np

    taken: dict[str, list[float]] = {name: [] for name, c in contenders.items() if c.one}
    for number in range(min(count, texts)):
        for name in taken:
            contenders[name].one(number)  # compiles for every length that is timed
    for begin in range(0, count, BLOCK):
        for name, seconds in taken.items():
            time.sleep(PAUSE)
            for number in range(begin, min(begin + BLOCK, count)):
                start = time.perf_counter()
                contenders[name].one(number % texts)
                seconds.append(time.perf_counter() - start)
    figures = []
    for name, seconds in taken.items():
        parts = np.percentile(np.asarray(seconds) * 1000, (50, 95, 99))
        timed = dict(zip(("p50_ms", "p95_ms", "p99_ms"), parts.round(2).tolist(), strict=True))
        figures.append({"contender": name, "answers": len(seconds), **timed})
    return figures


def spans(answers: list[Any]) -> list[Any]:
    """Return the entities found, without scores."""
    return [[(e["entity_group"], e["start"], e["end"]) for e in answer] for answer in answers]


def _print(figure: dict[str, Any]) -> None:
    from flaxner.benchmark.machine import device_name

    print(json.dumps({**figure, "device": device_name()}), flush=True)
