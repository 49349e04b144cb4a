"""Fine-tune BERT for named entity recognition: `python scripts/train.py --help`."""

import sys

from flaxner.config.command_line import parse_train_config
from flaxner.terminal import guarded


def main() -> int:
    config = parse_train_config()  # before the heavy imports: a wrong flag is answered at once

    def work() -> None:
        from flaxner.devices.processes import is_main
        from flaxner.inspection.report import inspect
        from flaxner.training.examples import show_examples
        from flaxner.training.run import train

        if config.inspect:
            inspect(config)
            return
        result = train(config)
        if is_main():
            show_examples(result.hub_dir)

    return guarded("train.py", work)


if __name__ == "__main__":
    sys.exit(main())
