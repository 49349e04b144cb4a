"""The end of a run: the entities its model finds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from flaxner.pipeline import pipeline
from flaxner.sample import EXAMPLES


def show_examples(
    folder: str | Path, texts: Sequence[str] = EXAMPLES, console: Console | None = None
) -> None:
    """Print the entities that a model folder finds in a few sentences.

    Args:
      folder: a Hub folder.
      texts: sentences.
      console: where to; standard output if None.
    """
    console = console or Console()
    ner = pipeline("ner", model=folder, aggregation_strategy="simple")
    console.print(f"\nEntities found in {folder}:", highlight=False)
    for text, entities in zip(texts, ner(list(texts)), strict=True):
        console.print(f"  {text}", style="bold", highlight=False, markup=False)
        for entity in entities:
            line = f"    {entity['entity_group']:<6} {entity['score']:.3f}  {entity['word']}"
            console.print(line, highlight=False, markup=False)
