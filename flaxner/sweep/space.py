"""SPACE.toml: the settings of a sweep, and the ranges or choices in `[space]` to search."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxner.config.fields import hint, kinds
from flaxner.config.files import CORPORA, DEFAULT_PRESET, laid_over, load_preset, read_toml
from flaxner.config.train import NOT_FINGERPRINTED, TrainConfig
from flaxner.data.readers import READING

FIELDS = {field.name: field for field in dataclasses.fields(TrainConfig)}
# Settings that change which sentences are scored, or whose choice would be down to chance.
NOT_SWEPT = NOT_FINGERPRINTED | {
    *("seed", "select", "cross_validation", "fold", "held_out", "data_seed"),
    *("map_types", "drop_types", *READING),
}
OWN = ("output_dir", "overwrite", "resume")  # a sweep has its own flags for these


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, inclusive.

    Attributes:
      low, high: bounds of the range.
      whole: whole numbers only.
      log: sample uniformly on a log scale.
      step: distance between values, starting at `low`; None: 1 for whole numbers, else any value.
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
    """The search space of a sweep.

    Attributes:
      settings: settings that are the same in all trials.
      dimensions: name of a setting -> the values to try.
    """

    settings: Mapping[str, Any]
    dimensions: Mapping[str, Dimension]

    def config(self, values: Mapping[str, Any], **changes: Any) -> TrainConfig:
        """Return the settings of a trial.

        Raises:
          ValueError: the values are incompatible.
        """
        lists = {k: [v] for k, v in values.items() if FIELDS[k].metadata.get("many")}
        return TrainConfig(**{**self.settings, **values, **lists, **changes})

    def described(self) -> dict[str, Any]:
        """Return the space as JSON; equal spaces have equal descriptions."""
        config = dataclasses.asdict(self.config(self.first()))
        left_out = {*self.dimensions, *(NOT_FINGERPRINTED - set(CORPORA))}
        fixed = {name: value for name, value in config.items() if name not in left_out}
        space = {name: dataclasses.asdict(d) for name, d in self.dimensions.items()}
        return {"settings": fixed, "space": space}

    def first(self) -> dict[str, Any]:
        """Return the lower end, or first choice, of every dimension."""
        return {name: ends(d)[0] for name, d in self.dimensions.items()}


def ends(dimension: Dimension) -> tuple[Any, ...]:
    """Return the bounds of a range, or all values of a choice."""
    if isinstance(dimension, Choice):
        return dimension.values
    return (dimension.low, dimension.high)


def read_space(path: str | Path, preset: str | None = None) -> Space:
    """Read and check SPACE.toml.

    Args:
      path: file with settings as in a run's config.toml, and a table `[space]`, whose entries are
        `name = [value, value]` or `name = {low = ..., high = ..., log = true, step = ...}`.
      preset: preset that the settings override; the default preset if None.

    Raises:
      ValueError: the file does not exist, is not TOML or has nothing to search; or a setting is
        unknown, has the wrong type or is out of bounds.
    """
    content = read_toml(path, "space")
    table = content.pop("space", None)
    if not isinstance(table, dict) or not table:
        raise ValueError(
            f"{path} has nothing to search: add a table [space], for example with "
            "learning_rate = {low = 1e-5, high = 1e-3, log = true}"
        )
    for name in (*content, *table):
        if name not in FIELDS:
            raise ValueError(f"{path}: unknown setting {name!r}{hint(name, list(FIELDS))}")
    twice = [name for name in table if name in content]
    if twice:
        raise ValueError(f"{path}: {twice[0]} is both set and in [space]: remove one of them")
    try:
        return _checked(content, table, preset)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _checked(content: Mapping[str, Any], table: Mapping[str, Any], preset: str | None) -> Space:
    own = [name for name in content if name in OWN or _of_process(FIELDS[name])]
    if own:
        raise ValueError(f"{own[0]} is not a setting of a sweep: use the flags of sweep.py")
    base = load_preset(preset or DEFAULT_PRESET)
    settings = laid_over(base, content, chosen=preset is not None)
    settings = {k: v for k, v in settings.items() if k not in {*OWN, *table}}
    fixed = TrainConfig(**settings)
    if fixed.seeds > 1 or (fixed.cross_validation and not fixed.fold):
        raise ValueError("a trial is a single run: remove seeds and cross_validation")
    space = Space(settings, {name: _dimension(name, value) for name, value in table.items()})
    for name, dimension in space.dimensions.items():
        for value in ends(dimension):  # each on its own: incompatible pairs fail in their trial
            Space(settings, {name: dimension}).config({name: value})
    space.config(space.first())
    return space


def _of_process(field: dataclasses.Field[Any]) -> bool:
    return bool(field.metadata.get("of_process"))


def _dimension(name: str, given: Any) -> Dimension:
    """Parse an entry of `[space]`."""
    if name in NOT_SWEPT:
        raise ValueError(f"{name} cannot be in [space]: trials could not be compared by F1")
    if isinstance(given, list):
        return _choice(name, given)
    if not isinstance(given, dict):
        raise ValueError(
            f"[space] {name} must be a list of choices or {{low = ..., high = ...}}: got {given!r}"
        )
    return _range(name, given)


def _choice(name: str, given: list[Any]) -> Choice:
    if len(given) < 2:
        raise ValueError(f"[space] {name} has nothing to choose from: give at least two values")
    plain = all(isinstance(value, bool | int | float | str) for value in given)
    if not plain or len({repr(value) for value in given}) < len(given):
        raise ValueError(f"[space] {name} must list distinct numbers, strings or booleans")
    return Choice(tuple(given))


def _range(name: str, given: dict[str, Any]) -> Range:
    where = f"[space] {name}"
    strange = [key for key in given if key not in ("low", "high", "log", "step")]
    if strange:
        raise ValueError(f"{where}: unknown key {strange[0]!r}; use low, high, log and step")
    kind = next(k for k in kinds(FIELDS[name], TrainConfig) if k is not type(None))
    if kind not in (int, float):
        raise ValueError(f"{where} is not a number: list its choices, [..., ...]")
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
        raise ValueError(f"{where}: low must be below high: got {low} and {high}")
    if step is not None and not 0 < step <= high - low:
        raise ValueError(f"{where}: step must be above 0 and at most high - low: got {step}")
    if log and step is not None:
        raise ValueError(f"{where}: log and step are mutually exclusive")
    if log and low <= 0:
        raise ValueError(f"{where}: with log = true, low must be above 0: got {low}")
