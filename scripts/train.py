"""Fine-tune BERT for named entity recognition: `python scripts/train.py --help`."""

import sys

from flaxner.config.command_line import parse_train_config


def main() -> int:
    config = parse_train_config()  # before the heavy imports: a wrong flag is answered at once
    from flaxner.devices.processes import is_main
    from flaxner.inspection.report import inspect
    from flaxner.training.examples import show_examples
    from flaxner.training.run import train
    from flaxner.training.stopping import RunStopped

    try:
        if config.inspect:
            inspect(config)
            return 0
        result = train(config)
    except ValueError as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    except RunStopped as stop:
        print(f"train.py: {stop}", file=sys.stderr)
        return stop.code
    except KeyboardInterrupt:  # of --inspect; a run has said more
        return 130
    if is_main():
        show_examples(result.hub_dir)
    return 0


if __name__ == "__main__":
    sys.exit(main())
