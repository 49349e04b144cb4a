"""Runs of training in tests."""

from rich.console import Console

from flaxner.config.train import TrainConfig
from flaxner.training.run import train


def start(settings, folder, **changes):
    """Train in a folder, silently; the result."""
    config = TrainConfig(**{**settings, "output_dir": str(folder), **changes})
    return train(config, console=Console(quiet=True))
