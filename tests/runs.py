"""Runs of training in tests."""

import io

from rich.console import Console

from flaxner.config.train import TrainConfig
from flaxner.training.run import train


def start(settings, folder, *, lines=None, **changes):
    """Train in a folder, silently unless there is a file for the lines; the result."""
    config = TrainConfig(**{**settings, "output_dir": str(folder), **changes})
    console = Console(quiet=True) if lines is None else Console(file=lines, width=1000)
    return train(config, console=console)


def start_and_read(settings, folder, **changes):
    """Train in a folder: the result, and what was printed."""
    lines = io.StringIO()
    return start(settings, folder, lines=lines, **changes), lines.getvalue()
