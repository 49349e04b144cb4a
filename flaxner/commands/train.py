"""Train, score and export a model."""

from __future__ import annotations

from collections.abc import Sequence

from flaxner.config.command_line import parse_train_config, train_parser
from flaxner.terminal import guarded

parser = train_parser


def main(arguments: Sequence[str] | None = None, prog: str = "train.py") -> int:
    """Train, or only examine the corpora (`--inspect`)."""
    config = parse_train_config(arguments, prog)  # before the heavy imports, so errors are quick

    def work() -> None:
        from flaxner.devices.lost_process import not_waiting
        from flaxner.devices.processes import is_main
        from flaxner.inspection.report import inspect
        from flaxner.runs.folder import RunFolder
        from flaxner.training.examples import show_examples
        from flaxner.training.run import train

        if config.inspect:
            inspect(config)
            return
        before = RunFolder(config.output_dir).finished() if config.resume else None
        with not_waiting():
            result = train(config)
        if is_main() and result.results != before:  # else there was nothing left to do
            show_examples(result.hub_dir)

    return guarded(prog, work)
