"""Settings as command-line flags; every error is one sentence, with exit code 2."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from flaxner.config.fields import TOLD, hint, kinds, local_path
from flaxner.config.files import (
    DEFAULT_PRESET,
    laid_over,
    load_preset,
    load_settings,
    preset_names,
)
from flaxner.config.sections import SECTIONS
from flaxner.config.train import TrainConfig
from flaxner.config.trainer_flags import TRAINER_FLAGS
from flaxner.terminal import guarded, one_line

# Settings that say what is read and how; train.py mixes several of its sources.
READ = {*SECTIONS["corpus"], "file", "split", "calibration_file", "calibration_split", "apply"}


def train_parser(prog: str = "train.py") -> Parser:
    """Return the parser of the training command."""
    parser = Parser(
        prog=prog,
        usage="%(prog)s [--preset NAME | --config FILE] [FLAG ...]",
        description="Fine-tune BERT for named entity recognition, evaluate it, and export it for "
        "PyTorch.",
        known_elsewhere=TRAINER_FLAGS,
    )
    add_base(parser)
    for title, names in SECTIONS.items():
        add_settings(parser.add_argument_group(title), names)
    return parser


def parse_train_config(
    arguments: Sequence[str] | None = None, prog: str = "train.py"
) -> TrainConfig:
    """Parse the command line of train.py into settings; exit with code 2 if it is invalid."""
    parser = train_parser(prog)
    given = vars(parser.parse_args(arguments))
    preset, file = given.pop("preset", None), given.pop("config", None)
    try:
        return over_base(preset, file, given)
    except ValueError as error:
        parser.error(str(error))


def add_base(parser: argparse.ArgumentParser) -> None:
    """Add --preset and --config, the base that the other flags override; see `over_base`."""
    base = parser.add_mutually_exclusive_group()
    add_preset(base, "named set of settings to start from")
    base.add_argument(
        "--config", type=path, metavar="FILE", help="TOML file of settings to start from"
    )


def add_preset(parser: argparse._ActionsContainer, help: str) -> None:
    """Add --preset."""
    parser.add_argument("--preset", choices=preset_names(), help=help)


def over_base(preset: str | None, file: str | None, given: Mapping[str, Any]) -> TrainConfig:
    """Return the given settings on top of those of a file or preset (by default, DEFAULT_PRESET).

    Raises:
      ValueError: there is no such file or preset, or a setting is out of bounds.
    """
    base = load_settings(file) if file else load_preset(preset or DEFAULT_PRESET)
    return TrainConfig(**laid_over(base, given, chosen=bool(file or preset)))


def add_settings(
    parser: argparse._ActionsContainer,
    only: Sequence[str],
    *,
    several: bool = True,
    defaults: Mapping[str, Any] | None = None,
) -> None:
    """Add a flag for each of the settings named; flags not given set no attribute.

    Flags of sources may be repeated and yield lists, unless `several` is false. The help states a
    setting's own default, or the command's if `defaults` has one.
    """
    defaults = defaults or {}
    fields = {field.name: field for field in dataclasses.fields(TrainConfig)}
    for field in map(fields.__getitem__, only):
        kind = next(k for k in kinds(field, TrainConfig) if k is not type(None))
        options: dict[str, Any] = {"default": argparse.SUPPRESS}
        options["help"] = field.metadata["help"] + _default(defaults.get(field.name, field.default))
        if field.metadata.get("many"):
            options |= {"action": "extend", "nargs": "+", "metavar": field.metadata["many"]}
            options["choices"] = field.metadata.get("choices")
        elif kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options |= {"type": kind, "choices": field.metadata.get("choices")}
            if field.metadata.get("path") is True:
                options["type"] = path
            options["metavar"] = None if options["choices"] else kind.__name__.upper()
            if several and field.metadata.get("several"):
                options["action"] = "append"
        parser.add_argument("--" + field.name.replace("_", "-"), **options)


def _default(value: Any) -> str:
    """Return the end of a help text that states the default; nothing for settings without one."""
    if value is None or value == ():
        return ""
    return f" (default: {' '.join(value) if isinstance(value, tuple) else value})"


def path(text: str) -> str:
    """Argument type of flags that name a file, a folder, or a model or data set that may be one."""
    try:
        return local_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def at_least(low: int) -> Callable[[str], int]:
    """Return the argument type of flags that take a whole number not below `low`."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low:
            what = f"{TOLD[int]} of at least {low}"
            raise argparse.ArgumentTypeError(f"expected {what}: got {text!r}")
        return value

    return read


def _number(kind: type[int] | type[float], text: str) -> float:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected {TOLD[kind]}: got {text!r}") from None


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one sentence on stderr, with exit code 2.

    Args:
      known_elsewhere: what to use instead of flags that other programs have, without the dashes in
        front and with "-" for "_".
      options: those of argparse.
    """

    def __init__(self, *, known_elsewhere: Mapping[str, str] | None = None, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)
        self._known_elsewhere = known_elsewhere or {}
        for kind in (int, float):
            self.register("type", kind, functools.partial(_number, kind))
        self._switches: dict[str, Sequence[str]] = {}
        self._words: Sequence[str] = ()

    def add_switch(self, flag: str, values: Sequence[str], help: str) -> None:
        """Add a flag that may be given without a value, meaning the first of `values`.

        The word after it is taken as its value only if it is one of them: `--onnx RUN_DIR` is
        --onnx followed by a folder.
        """
        self._switches[flag] = values
        self.add_argument(
            flag, nargs="?", const=values[0], default=False, choices=values, help=help
        )

    def parse_args(self, args: Any = None, namespace: Any = None) -> argparse.Namespace:  # type: ignore[override]
        """Parse; the error for an unknown flag suggests the closest known ones."""
        words = list(sys.argv[1:] if args is None else args)
        for i, word in enumerate(words):
            if word in self._switches and not set(words[i + 1 : i + 2]) & set(self._switches[word]):
                words[i] = f"{word}={self._switches[word][0]}"
        self._words = words
        self._check_repeated(words)
        known, unknown = self.parse_known_args(words, namespace)
        if unknown:
            self.error(self._unknown(unknown[0]))
        return known

    def _check_repeated(self, words: Sequence[str]) -> None:
        """Reject what to read, or how, given twice where argparse would take the last."""
        given = [word.split("=")[0] for word in itertools.takewhile("--".__ne__, words)]
        for flag in given:
            action = self._option_string_actions.get(flag)
            single = isinstance(action, argparse._StoreAction) and action.dest in READ
            if single and given.count(flag) > 1:
                self.error(f"argument {flag}: give it once, as {self.prog} takes a single one")

    def _unknown(self, word: str) -> str:
        flags = [name for action in self._actions for name in action.option_strings]
        for flag, value, after in zip(self._words, self._words[1:], self._words[2:], strict=False):
            if after == word and flag in flags and value[:1] != "-" != word[:1]:
                again = isinstance(self._option_string_actions[flag], argparse._AppendAction)
                repeat = f"; repeat it for each: {flag} {value} {flag} {word}" * again
                return f"unexpected {word!r}: {flag} takes one value{repeat}"
        flag = word.split("=")[0]
        instead = self._known_elsewhere.get(flag.lstrip("-").replace("_", "-"))
        if instead:
            return f"unknown argument {flag!r}{'; use' * instead.startswith('--') or ':'} {instead}"
        near = hint(flag, flags, many=f"'{self.prog} --help' lists all arguments")
        return f"unknown argument {flag!r}{near}"

    def error(self, message: str) -> NoReturn:
        """Print the message on one line and exit with code 2.

        A mistyped flag is reported first: it may be why a required one seems to be missing.
        """
        if self._subparsers is None:
            for word in itertools.takewhile("--".__ne__, self._words):
                flag = word.split("=")[0]
                if word[:2] == "--" and " " not in word and flag not in self._option_string_actions:
                    message = self._unknown(word)
                    break
        self.exit(2, f"{self.prog}: {one_line(message)}\n")

    def pairs(self, flag: str, given: Sequence[str]) -> dict[str, str]:
        """Return the values of a flag that takes NAME=NAME; call `error` if one is malformed."""
        pairs = {}
        for pair in given:
            name, sign, other = pair.partition("=")
            if not (name and sign and other) or name in pairs:
                self.error(f"argument {flag}: expected NAME=NAME, each name once: got {pair!r}")
            pairs[name] = other
        return pairs

    def run(self, work: Callable[[], object], *, may_be_cut: bool = False) -> int:
        """Run a script's work and return its exit code; see `terminal.guarded`."""
        return guarded(self.prog, work, may_be_cut=may_be_cut)
