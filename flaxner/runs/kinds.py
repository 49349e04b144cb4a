"""The parts of a run that are written as whole folders: how each is recognised, what is ours."""

from __future__ import annotations

from pathlib import Path

from flaxner.files import Kind, holds
from flaxner.runs.paths import is_run


def _holds_a_model(folder: Path) -> bool:
    """Whether this is a model folder as found on the Hub."""
    return holds(folder / "config.json", "model_type")


def _holds_our_model(folder: Path) -> bool:
    """Whether flaxner wrote this model folder: its config.json has our block."""
    return holds(folder / "config.json", "flaxner")


HUB = Kind(
    "a model folder",
    seal="config.json",
    names=("config.json", "model.safetensors", "tokenizer_config.json", "README.md"),
    card="README.md",
    remedy=" (convert_and_push.py --new-card replaces it)",
    known=_holds_our_model,
    clone=_holds_a_model,
    plain=True,
)
START = Kind("the model of a run", "config.json", ("config.json",), known=_holds_our_model)
TAGGED = Kind("the predictions of a run", "", (), known=lambda folder: is_run(folder.parent))
