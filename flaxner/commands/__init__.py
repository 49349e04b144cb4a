"""The commands: one module each, for `flaxner SUBCOMMAND` and for `python scripts/SCRIPT.py`.

A module of a command has `parser(prog)`, which knows its flags, and `main(arguments, prog)`, which
does the work and returns the exit code. Nothing heavy is imported before the flags are read.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import NamedTuple


class Command(NamedTuple):
    """A subcommand.

    Attributes:
      module: where its parser and its main stand.
      help: what it does, in a line.
    """

    module: str
    help: str

    def load(self) -> ModuleType:
        """Its module."""
        return importlib.import_module(self.module)


COMMANDS = {
    "train": Command("flaxner.commands.train", "fine-tune, evaluate, export for PyTorch"),
    "evaluate": Command("flaxner.commands.evaluate", "score a model on a corpus"),
    "predict": Command("flaxner.commands.predict", "entities of texts, one JSON object a line"),
    "serve": Command("flaxner.commands.serve", "models over HTTP, and a page to try them"),
    "compare": Command("flaxner.commands.compare", "do two runs differ, or only by chance"),
    "report": Command("flaxner.commands.report", "a run's page: curves, scores, every error"),
    "audit": Command("flaxner.commands.audit", "which labels of a corpus are wrong"),
    "sweep": Command("flaxner.commands.sweep", "the settings that train best, by Optuna"),
    "convert": Command("flaxner.commands.convert", "a run's checkpoint -> PyTorch folder -> Hub"),
    "export": Command("flaxner.commands.export", "a model as a program that needs no model code"),
    "preflight": Command("flaxner.commands.preflight", "will a run fit an accelerator, how fast"),
    "embeddings": Command("flaxner.commands.embeddings", "static word vectors against BERT's"),
    "benchmark": Command("flaxner.commands.benchmark", "side by side with torch"),
    "env": Command("flaxner.commands.environment", "versions and devices, for a bug report"),
    "completion": Command("flaxner.commands.completion", "completions for a shell"),
}
