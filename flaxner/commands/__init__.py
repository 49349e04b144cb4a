"""The commands: one module each, for `flaxner SUBCOMMAND` and for `python scripts/SCRIPT.py`.

A command's module has `parser(prog)`, which defines its flags, and `main(arguments, prog)`, which
does the work and returns the exit code. Nothing heavy is imported before the flags are parsed.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import NamedTuple


class Command(NamedTuple):
    """A subcommand.

    Attributes:
      module: the module with its `parser` and `main`.
      help: what it does, in one line.
    """

    module: str
    help: str

    def load(self) -> ModuleType:
        """Import and return its module."""
        return importlib.import_module(self.module)


COMMANDS = {
    "train": Command("flaxner.commands.train", "fine-tune a model, evaluate it, export it"),
    "evaluate": Command("flaxner.commands.evaluate", "score a model on a corpus"),
    "predict": Command("flaxner.commands.predict", "find entities in texts, as JSON lines"),
    "serve": Command("flaxner.commands.serve", "serve models over HTTP, with a page to try them"),
    "compare": Command("flaxner.commands.compare", "test whether two runs really differ"),
    "report": Command("flaxner.commands.report", "write a run's report: curves, scores, errors"),
    "audit": Command("flaxner.commands.audit", "find wrong labels in a corpus"),
    "sweep": Command("flaxner.commands.sweep", "search for the best settings with Optuna"),
    "convert": Command("flaxner.commands.convert", "convert a checkpoint to PyTorch, push it"),
    "export": Command("flaxner.commands.export", "export a model that runs without model code"),
    "preflight": Command("flaxner.commands.preflight", "check if a run fits an accelerator"),
    "embeddings": Command("flaxner.commands.embeddings", "compare static word vectors with BERT's"),
    "benchmark": Command("flaxner.commands.benchmark", "measure flaxner side by side with PyTorch"),
    "env": Command("flaxner.commands.environment", "print versions and devices for a bug report"),
    "completion": Command("flaxner.commands.completion", "print shell completions"),
}
