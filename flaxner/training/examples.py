"""Examples at the end of a run: the entities its model finds, using PyTorch if it is installed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from flaxner import terminal
from flaxner.data.embedded import EXAMPLES
from flaxner.publishing.verification import torch_model

FIRST = {"aggregation_strategy": "first"}  # matches training, which uses first tokens


def show_examples(
    folder: str | Path, texts: Sequence[str] = EXAMPLES, console: Console | None = None
) -> None:
    """Print the entities that a model folder finds in a few sentences.

    Args:
      folder: a Hub folder.
      texts: the sentences.
      console: the console to print on; standard output if None.
    """
    console = terminal.console(console)
    ner, reader = _pipeline(folder)
    console.print(f"\nEntities found by {reader} with {folder}:")
    with warnings.catch_warnings():  # transformers warns about every byte-level tokenizer
        warnings.simplefilter("ignore")
        found = [ner(text) for text in texts]
    for text, entities in zip(texts, found, strict=True):
        console.print(f"  {text}", style="bold")
        width = max((len(entity["entity_group"]) for entity in entities), default=0)
        for entity in entities:
            line = f"    {entity['entity_group']:<{width}}  {entity['score']:.3f}  {entity['word']}"
            console.print(line)


def _pipeline(folder: str | Path) -> tuple[Any, str]:
    try:
        import torch  # noqa: F401
        from transformers import AutoTokenizer, pipeline
    except (ImportError, OSError):  # torch is missing, or its libraries fail to load
        from flaxner.inference.pipeline import pipeline as ours

        return ours("ner", model=str(folder), **FIRST), "flaxner.pipeline"
    model = torch_model(folder)
    tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
    # transformers' overloads lack the alias "ner", which its documentation uses
    theirs: Any = pipeline("ner", model, tokenizer=tokenizer, **FIRST)  # type: ignore[call-overload]
    return theirs, "transformers.pipeline (PyTorch)"
