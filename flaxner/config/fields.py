"""What classes of settings are made of: fields with help and bounds, and a command-line parser."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Sequence
from typing import Any

# One source, or several that are mixed; each flag may be repeated, a TOML value be a list.
Several = str | tuple[str, ...] | None


def each(value: Several) -> tuple[str, ...]:
    """The sources that a setting names."""
    return () if value is None else (value,) if isinstance(value, str) else value


def setting(default: Any, help: str, **extra: Any) -> Any:
    """A field of a settings class; what else is said of it bounds its values, see `check`."""
    return dataclasses.field(default=default, metadata={"help": help, **extra})


def normal(field: dataclasses.Field[Any], value: Any) -> Any:
    """A value in the form that the settings class holds: lists are tuples, one source is itself."""
    if isinstance(value, list | tuple) and value and field.metadata.get("several"):
        return value[0] if len(value) == 1 else tuple(value)
    return tuple(value) if isinstance(value, list) and field.metadata.get("many") else value


def check(field: dataclasses.Field[Any], value: Any, owner: type) -> None:
    """Refuse a value that a setting cannot have.

    Raises:
      ValueError: of another type, out of its bounds or none of its choices; the setting is named.
    """
    allowed = kinds(field, owner)
    if value is None and type(None) in allowed:
        return
    wanted = next(kind for kind in allowed if kind is not type(None))
    if field.metadata.get("many"):
        wanted = typing.get_args(wanted)[0]
        ok = isinstance(value, tuple) and all(isinstance(item, wanted) for item in value)
    elif isinstance(value, tuple) and field.metadata.get("several"):
        ok = all(isinstance(item, wanted) for item in value)
    else:
        ok = isinstance(value, (int, float)) if wanted is float else isinstance(value, wanted)
    if not ok or (isinstance(value, bool) and wanted is not bool):
        what = f"{'a list of ' * bool(field.metadata.get('many'))}{wanted.__name__}"
        raise ValueError(f"{field.name} must be {what}: got {value!r}")
    meta = field.metadata
    low, high = meta.get("low"), meta.get("high")
    # A comparison that must hold: none holds for nan.
    if low is not None and not (value > low if meta.get("open") else value >= low):
        raise ValueError(
            f"{field.name} must be {'above' if meta.get('open') else 'at least'} {low}: got {value}"
        )
    if high is not None and not value <= high:
        raise ValueError(f"{field.name} must be at most {high}: got {value}")
    if "choices" in meta and value not in meta["choices"]:
        raise ValueError(f"{field.name} must be one of {', '.join(meta['choices'])}: got {value!r}")
    if "pattern" in meta and not re.fullmatch(meta["pattern"][0], value):
        raise ValueError(f"{field.name} must be {meta['pattern'][1]}: got {value!r}")


def kinds(field: dataclasses.Field[Any], owner: type) -> tuple[type, ...]:
    """The types that values of a setting may have; the first is the plain one."""
    kind = typing.get_type_hints(owner)[field.name]
    return typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def hint(name: str, names: Sequence[str]) -> str:
    """The known names nearest to a wrong one, for the end of a message."""
    near = difflib.get_close_matches(name, names, n=3)
    return f"; did you mean {' or '.join(near)}?" if near else f"; known: {', '.join(names)}"
