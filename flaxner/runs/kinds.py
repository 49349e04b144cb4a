"""The parts of a run that are written as whole folders: how each is recognised, what is ours."""

from __future__ import annotations

import json
from pathlib import Path

from flaxner.files import Kind
from flaxner.runs.paths import is_run


def _holds_a_model(folder: Path, field: str = "model_type") -> bool:
    """Whether this is a model folder as found on the Hub: its config.json has this field."""
    try:
        return field in json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def _holds_our_model(folder: Path) -> bool:
    """Whether flaxner wrote this model folder: its config.json has our block."""
    return _holds_a_model(folder, "flaxner")


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
