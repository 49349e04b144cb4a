"""SPACE.toml: the settings of a sweep, and between what those in `[space]` are to be chosen."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxner.config.fields import hint, kinds
from flaxner.config.files import CORPORA, DEFAULT_PRESET, laid_over, load_preset
from flaxner.config.train import NOT_FINGERPRINTED, TrainConfig
from flaxner.data.readers import READING

FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}
# What changes the sentences that are scored, or leaves to luck what is to be chosen.
NOT_SWEPT = NOT_FINGERPRINTED | {
    *("seed", "select", "cross_validation", "fold", "held_out", "data_seed"),
    *("map_types", "drop_types", *READING),
}
OWN = ("output_dir", "overwrite", "resume")  # a sweep has its own flags for them


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Attributes:
      whole: whole numbers only.
      log: drawn evenly over the logarithm.
      step: between neighbours, from `low` on; None: 1, or any.
    """

    low: float
    high: float
    whole: bool
    log: bool = False
    step: float | None = None


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]


Dimension = Range | Choice


@dataclasses.dataclass(frozen=True)
class Space:
    """What a sweep looks through.

    Attributes:
      settings: those that are the same in all trials.
      dimensions: name -> what is tried of a setting.
    """

    settings: Mapping[str, Any]
    dimensions: Mapping[str, Dimension]

    def config(self, values: Mapping[str, Any], **changes: Any) -> TrainConfig:
        """The settings of a trial.

        Raises:
          ValueError: values that do not fit each other.
        """
        lists = {k: [v] for k, v in values.items() if FIELDS[k].metadata.get("many")}
        return TrainConfig(**{**self.settings, **values, **lists, **changes})

    def described(self) -> dict[str, Any]:
        """All of it as JSON has it: equal spaces, equal descriptions."""
        config = dataclasses.asdict(self.config(self.first()))
        left_out = {*self.dimensions, *(NOT_FINGERPRINTED - set(CORPORA))}
        fixed = {name: value for name, value in config.items() if name not in left_out}
        space = {name: dataclasses.asdict(d) for name, d in self.dimensions.items()}
        return {"settings": fixed, "space": space}

    def first(self) -> dict[str, Any]:
        """The lower end, or first choice, of every dimension."""
        return {name: ends(d)[0] for name, d in self.dimensions.items()}


def ends(dimension: Dimension) -> tuple[Any, ...]:
    """The values that bound a dimension; of choices all."""
    if isinstance(dimension, Choice):
        return dimension.values
    return (dimension.low, dimension.high)


def read_space(path: str | Path, preset: str | None = None) -> Space:
    """Read and check SPACE.toml.

    Args:
      path: settings as in a run's config.toml, and a table `[space]`, whose entries are
        `name = [value, value]` or `name = {low = ..., high = ..., log = true, step = ...}`.
      preset: what the settings are laid over; the default preset if None.

    Raises:
      ValueError: no such file, no TOML, nothing to look through, or a setting that is unknown, of
        another kind or out of its bounds.
    """
    try:
        content = tomllib.loads(Path(path).read_text("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"cannot read the space {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no TOML: {error}") from error
    table = content.pop("space", None)
    if not isinstance(table, dict) or not table:
        raise ValueError(
            f"{path} has nothing to look through: give a table [space], for example with "
            "learning_rate = {low = 1e-5, high = 1e-3, log = true}"
        )
    for name in (*content, *table):
        if name not in FIELDS:
            raise ValueError(f"{path}: unknown setting {name!r}{hint(name, list(FIELDS))}")
    twice = [name for name in table if name in content]
    if twice:
        raise ValueError(f"{path}: {twice[0]} is set and in [space]: leave one away")
    try:
        return _checked(content, table, preset)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _checked(content: Mapping[str, Any], table: Mapping[str, Any], preset: str | None) -> Space:
    own = [name for name in content if name in OWN or _of_process(FIELDS[name])]
    if own:
        raise ValueError(f"{own[0]} is no setting of a sweep: it has its own flags")
    base = load_preset(preset or DEFAULT_PRESET)
    settings = laid_over(base, content, chosen=preset is not None)
    settings = {k: v for k, v in settings.items() if k not in {*OWN, *table}}
    fixed = TrainConfig(**settings)
    if fixed.seeds > 1 or (fixed.cross_validation and not fixed.fold):
        raise ValueError("a trial is one run: leave seeds and cross_validation away")
    space = Space(settings, {name: _dimension(name, value) for name, value in table.items()})
    for name, dimension in space.dimensions.items():
        for value in ends(dimension):  # each by itself: pairs that do not fit fail in their trial
            Space(settings, {name: dimension}).config({name: value})
    space.config(space.first())
    return space


def _of_process(field: dataclasses.Field[Any]) -> bool:
    return bool(field.metadata.get("of_process"))


def _dimension(name: str, given: Any) -> Dimension:
    """An entry of `[space]`."""
    if name in NOT_SWEPT:
        raise ValueError(f"{name} cannot be in [space]: its trials could not be compared by F1")
    if isinstance(given, list):
        return _choice(name, given)
    if not isinstance(given, dict):
        raise ValueError(
            f"[space] {name} must be a list of choices or {{low = ..., high = ...}}: got {given!r}"
        )
    return _range(name, given)


def _choice(name: str, given: list[Any]) -> Choice:
    if len(given) < 2:
        raise ValueError(f"[space] {name} has nothing to choose from: give two values or more")
    plain = all(isinstance(value, bool | int | float | str) for value in given)
    if not plain or len({repr(value) for value in given}) < len(given):
        raise ValueError(f"[space] {name} must list different numbers, texts or truth values")
    return Choice(tuple(given))


def _range(name: str, given: dict[str, Any]) -> Range:
    where = f"[space] {name}"
    strange = [key for key in given if key not in ("low", "high", "log", "step")]
    if strange:
        raise ValueError(f"{where}: unknown {strange[0]!r}; known: low, high, log, step")
    kind = next(k for k in kinds(FIELDS[name], TrainConfig) if k is not type(None))
    if kind not in (int, float):
        raise ValueError(f"{where} is no number: list its choices, [..., ...]")
    numbers = {key: given.get(key) for key in ("low", "high", "step")}
    if numbers["low"] is None or numbers["high"] is None:
        raise ValueError(f"{where} needs both low and high")
    for key, value in numbers.items():
        wanted = int if kind is int else (int, float)
        if value is None and key == "step":
            continue
        if isinstance(value, bool) or not isinstance(value, wanted) or not math.isfinite(value):
            what = "a whole number" if kind is int else "a number"
            raise ValueError(f"{where}: {key} must be {what}: got {value!r}")
    low, high, step = numbers["low"], numbers["high"], numbers["step"]
    log = given.get("log", False)
    if not isinstance(log, bool):
        raise ValueError(f"{where}: log must be true or false: got {log!r}")
    _check_range(where, low, high, step, log)
    return Range(kind(low), kind(high), kind is int, log, step if step is None else kind(step))


def _check_range(where: str, low: float, high: float, step: float | None, log: bool) -> None:
    if not low < high:
        raise ValueError(f"{where}: low must be below high: {low} and {high}")
    if step is not None and not 0 < step <= high - low:
        raise ValueError(f"{where}: step must be above 0 and at most high - low: got {step}")
    if log and step is not None:
        raise ValueError(f"{where}: log and step exclude each other")
    if log and low <= 0:
        raise ValueError(f"{where}: with log = true low must be above 0: got {low}")
