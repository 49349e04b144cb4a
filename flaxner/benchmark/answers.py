"""The contenders of `benchmark.py pipeline`: our engines, torch's pipeline, ONNX Runtime alone."""

from __future__ import annotations

import argparse
import functools
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from flaxner.benchmark.choices import BARE, CUT, ENGINES, STATIC, STRATEGY
from flaxner.inference.onnx_runtime import onnxruntime
from flaxner.models import graph_weights
from flaxner.wording import first_line

SORTED = 32  # their batch size, texts sorted by length


class Contender(NamedTuple):
    """A way of answering texts.

    Attributes:
      many: answers all texts.
      one: answers text number i; None if single answers are not timed.
    """

    many: Callable[[], Any]
    one: Callable[[int], Any] | None


def make_contenders(
    arguments: argparse.Namespace, texts: list[str], static: Path | None
) -> Iterator[tuple[str, Contender]]:
    """Create the contenders that the flags select, by name, ours first.

    Args:
      arguments: the flags of `benchmark.py pipeline`.
      texts: the texts to answer.
      static: the exported model behind STATIC, if it takes part.

    Raises:
      ValueError: the model cannot be read, or a package is missing.
    """
    for engine in arguments.engines:
        name = "flaxner" if engine == "jax" else f"flaxner, {engine}"
        yield name, _ours(arguments.model, engine, texts, static)
    if arguments.batch_sizes:
        yield from _torch(arguments, texts).items()
    if arguments.torch_compile:
        yield from _compiled(arguments, texts).items()
    if arguments.onnx_runtime:
        yield from _bare(Path(arguments.model), texts).items()


def write_static(folder: Path, model: Any, texts: list[str]) -> Path:
    """Write the exported model behind STATIC, calibrated on the texts themselves.

    Raises:
      ValueError: the model cannot be read, or a package is missing.
    """
    from flaxner.inference.pipeline import pipeline
    from flaxner.inference.static_ranges import evenly_spaced, seen_ranges

    ner = pipeline("ner", model=model, engine="jax")
    assert ner.classifier is not None  # always there for a loaded model
    seen = seen_ranges(ner.classifier, evenly_spaced([text.split() for text in texts]))
    return ner.export(folder, weights=graph_weights.STATIC, engine="onnx", seen=seen)


def _ours(model: Any, engine: str, texts: list[str], static: Path | None) -> Contender:
    from flaxner.inference.opening import load_exported
    from flaxner.inference.pipeline import pipeline

    options: dict[str, Any] = {**ENGINES[engine], **STRATEGY, **CUT}
    if engine == STATIC and static is not None:
        ner = load_exported(static, **options)
    else:
        ner = pipeline("ner", model=model, **options)
    return Contender(lambda: ner(texts), lambda number: ner(texts[number]))


def _torch(arguments: argparse.Namespace, texts: list[str]) -> dict[str, Contender]:
    """Torch's pipeline at each batch size, and at the largest with the texts sorted by length."""
    theirs, ordered = _theirs(arguments, texts)

    def one(number: int) -> Any:
        return theirs(texts[number])

    def many(size: int) -> Any:
        return theirs(texts, batch_size=size)

    calls = {
        f"torch, batch {size}": Contender(
            functools.partial(many, size), one if index == 0 else None
        )
        for index, size in enumerate(arguments.batch_sizes)
    }
    return {**calls, f"torch, batch {_largest(arguments)}, sorted": Contender(ordered, None)}


def _compiled(arguments: argparse.Namespace, texts: list[str]) -> dict[str, Contender]:
    """Torch's pipeline compiled, texts sorted by length; empty if torch finds no compiler."""
    import torch

    theirs, ordered = _theirs(arguments, texts)
    theirs.model.forward = torch.compile(theirs.model.forward, dynamic=True)
    try:
        theirs(texts[:2], batch_size=2)
    except Exception as error:  # a missing compiler raises something else in every version
        print(f"note: torch.compile is left out: {first_line(error)}", file=sys.stderr)
        return {}
    name = f"torch compiled, batch {_largest(arguments)}, sorted"
    return {name: Contender(ordered, lambda number: theirs(texts[number]))}


def _largest(arguments: argparse.Namespace) -> int:
    return max(arguments.batch_sizes, default=SORTED)


def _theirs(arguments: argparse.Namespace, texts: list[str]) -> tuple[Any, Callable[[], Any]]:
    """Torch's pipeline, and a function that answers all texts with it, sorted by length."""
    from transformers import pipeline

    options = {**STRATEGY, "trust_remote_code": False, "dtype": arguments.torch_dtype}
    theirs: Any = pipeline("ner", model=arguments.model, **options)  # type: ignore[call-overload]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))

    def ordered() -> list[Any]:
        answers = theirs([texts[i] for i in order], batch_size=_largest(arguments))
        by_place = dict(zip(order, answers, strict=True))
        return [by_place[i] for i in range(len(texts))]

    return theirs, ordered


def _bare(model: Path, texts: list[str]) -> dict[str, Contender]:
    """Forward pass and argmax only: texts are tokenised beforehand and no entities are built."""
    from flaxner.data.tokenizer import load_tokenizer
    from flaxner.models.config_json import read_config
    from flaxner.publishing.onnx import write_onnx, write_quantized

    if not model.is_dir():
        raise ValueError(f"--onnx-runtime needs a model folder: got {model}")
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "model"
        shutil.copytree(model, copy, ignore=shutil.ignore_patterns("onnx"))
        positions = read_config(copy).get("max_position_embeddings", 512)
        file = write_onnx(copy, positions)
        sessions = {"float32": _session(file), "int8": _session(write_quantized(file))}
    tokenizer = load_tokenizer(model)
    read = tokenizer(texts, truncation=True)["input_ids"]
    return {f"{BARE}, {kind}": _runs(session, read) for kind, session in sessions.items()}


def _session(file: Path) -> Any:
    runtime = onnxruntime()
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    return runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _runs(session: Any, read: list[list[int]]) -> Contender:
    names = {item.name for item in session.get_inputs()}
    order = sorted(range(len(read)), key=lambda i: len(read[i]))
    batches = [order[i : i + SORTED] for i in range(0, len(order), SORTED)]
    feeds = [_feed([read[i] for i in batch], names) for batch in batches]
    singles = [_feed([ids], names) for ids in read]
    return Contender(
        lambda: [session.run(None, feed)[0].argmax(-1) for feed in feeds],
        lambda number: session.run(None, singles[number])[0].argmax(-1),
    )


def _feed(rows: list[list[int]], names: set[str]) -> dict[str, np.ndarray]:
    longest = max(map(len, rows))
    ids = np.zeros((len(rows), longest), np.int64)
    mask = np.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, : len(row)], mask[place, : len(row)] = row, 1
    every = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {name: value for name, value in every.items() if name in names}
