"""Training runs in tests."""

import io

from rich.console import Console

from flaxner.config.train import TrainConfig
from flaxner.training.run import train


def start(settings, folder, *, lines=None, shared=None, **changes):
    """Train in a folder and return the result; print to `lines` if given.

    Runs that are given the same `shared` trace and compile only once.
    """
    config = TrainConfig(**{**settings, "output_dir": str(folder), **changes})
    console = Console(quiet=True) if lines is None else Console(file=lines, width=1000)
    return train(config, console=console, shared=shared)


def start_and_read(settings, folder, **changes):
    """Train in a folder; return the result and the printed text."""
    lines = io.StringIO()
    return start(settings, folder, lines=lines, **changes), lines.getvalue()
