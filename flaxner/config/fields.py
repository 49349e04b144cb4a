"""What classes of settings are made of: fields with help and bounds, and a command-line parser."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import os
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

# One source, or several that are mixed; each flag may be repeated, a TOML value be a list.
Several = str | tuple[str, ...] | None


def each(value: Several) -> tuple[str, ...]:
    """The sources that a setting names."""
    return () if value is None else (value,) if isinstance(value, str) else value


def setting(default: Any, help: str, **extra: Any) -> Any:
    """A field of a settings class; what else is said of it bounds its values, see `check`."""
    return dataclasses.field(default=default, metadata={"help": help, **extra})


# The start of gs://bucket/x or file:/x; a drive of Windows has one letter.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_BUCKETS = ("gs", "s3", "s3a", "az", "abfs", "abfss", "wasb", "wasbs", "adl", "oss")


def local_path(value: str) -> str:
    """A path, or a name on the Hub, as the user gave it, with `~` written out.

    Raises:
      ValueError: an address such as gs://bucket/x, a home of nobody, or what no file name holds.
    """
    address = _ADDRESS.match(value)
    if address and address[1].lower() in _BUCKETS:
        raise ValueError(
            f"{value!r} is in a bucket, and flaxner reads and writes files of this machine: mount "
            "the bucket (gcsfuse BUCKET /mnt/BUCKET, or its like) and give the path there"
        )
    if address and address[1].lower() in ("http", "https", "hf"):
        raise ValueError(
            f"{value!r} is an address: give the name on the Hub, OWNER/NAME, or download it and "
            "give the path"
        )
    if address:
        raise ValueError(f"{value!r} is an address: give a path of this machine")
    if "\0" in value:
        raise ValueError(f"no path holds a zero byte: got {value!r}")
    path = os.path.expanduser(value) if value.startswith("~") else value
    if path.startswith("~") and "/" in path:
        raise ValueError(f"{value!r} begins with ~ and is no home: write ./{value} if it is meant")
    return path


def normal(field: dataclasses.Field[Any], value: Any) -> Any:
    """A value in the form that the settings class holds.

    Lists are tuples, one source is itself, `~` in a path is written out (`path=True`), but in that
    of a cache, which is the same for every user (`path="as it is"`).

    Raises:
      ValueError: a path that is none; the setting is named.
    """
    if field.metadata.get("path") and isinstance(value, str | list | tuple):
        try:
            if isinstance(value, str):
                path = local_path(value)
                value = path if field.metadata["path"] is True else value
            else:
                value = [local_path(v) if isinstance(v, str) else v for v in value]
        except ValueError as error:
            raise ValueError(f"{field.name}: {error}") from error
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
    _check_content(field.name, value)
    meta = field.metadata
    low, high = meta.get("low"), meta.get("high")
    # A comparison that must hold: none holds for nan.
    if low is not None and not (value > low if meta.get("open") else value >= low):
        raise ValueError(
            f"{field.name} must be {'above' if meta.get('open') else 'at least'} {low}: got {value}"
        )
    if high is not None and not value <= high:
        raise ValueError(f"{field.name} must be at most {high}: got {value}")
    for item in value if isinstance(value, tuple) else (value,):
        if "choices" in meta and item not in meta["choices"]:
            known = ", ".join(meta["choices"])
            raise ValueError(f"{field.name} must be one of {known}: got {item!r}")
    if "pattern" in meta and not re.fullmatch(meta["pattern"][0], value):
        raise ValueError(f"{field.name} must be {meta['pattern'][1]}: got {value!r}")


def _check_content(name: str, value: Any) -> None:
    """What config.json and config.toml can hold: numbers that are finite, text that is UTF-8."""
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError(f"{name} must be a finite number: got {item}")
        if isinstance(item, int) and abs(item) >= 2**63:
            raise ValueError(f"{name} must be a number of at most 63 bits: got {item}")
        if isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError:
                raise ValueError(f"{name} must be valid UTF-8: got {item!r}") from None


def kinds(field: dataclasses.Field[Any], owner: type) -> tuple[type, ...]:
    """The types that values of a setting may have; the first is the plain one."""
    kind = _hints(owner)[field.name]
    return typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


@functools.cache
def _hints(owner: type) -> Mapping[str, Any]:
    """The types of all settings, which are written as text; each reading of them takes ms."""
    return typing.get_type_hints(owner)


def hint(name: str, names: Sequence[str]) -> str:
    """The known names nearest to a wrong one, for the end of a message."""
    near = difflib.get_close_matches(name, names, n=3)
    return f"; did you mean {' or '.join(near)}?" if near else f"; known: {', '.join(names)}"
