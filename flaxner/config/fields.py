"""The building blocks of settings classes: fields with help text and bounds, and their checks."""

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

from flaxner.typed_commands import command_line

# One source, or several to mix: the flag may be repeated, and the TOML value may be a list.
Several = str | tuple[str, ...] | None
MANY = 20  # names in a message; a longer list helps nobody
# What a user is told to write for a setting of each type.
TOLD = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def each(value: Several) -> tuple[str, ...]:
    """Return the sources that a setting names."""
    return () if value is None else (value,) if isinstance(value, str) else value


def setting(default: Any, help: str, **extra: Any) -> Any:
    """Define a field of a settings class; `extra` bounds its values, see `check`."""
    return dataclasses.field(default=default, metadata={"help": help, **extra})


# Matches the start of gs://bucket/x or file:/x, but not a Windows drive, which is a single letter.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_BUCKETS = ("gs", "s3", "s3a", "az", "abfs", "abfss", "wasb", "wasbs", "adl", "oss")


def local_path(value: str) -> str:
    """Return a path or Hub name as the user gave it, with `~` expanded.

    Raises:
      ValueError: empty, a URL such as gs://bucket/x, the home of an unknown user, or a zero byte.
    """
    if not value:  # pathlib takes it for the current folder
        raise ValueError("expected a path or a name: got ''")
    address = _ADDRESS.match(value)
    if address and address[1].lower() in _BUCKETS:
        raise ValueError(
            f"{value!r} is in a bucket, but flaxner only reads and writes local files: mount the "
            "bucket (gcsfuse BUCKET /mnt/BUCKET, or similar) and give the path there"
        )
    if address and address[1].lower() in ("http", "https", "hf"):
        raise ValueError(
            f"{value!r} is a URL: give the name on the Hub, OWNER/NAME, or download it and give "
            "its path"
        )
    if address:
        raise ValueError(f"{value!r} is a URL: give a local path")
    if "\0" in value:
        raise ValueError(f"a path cannot contain a zero byte: got {value!r}")
    path = os.path.expanduser(value) if value.startswith("~") else value
    if path.startswith("~") and "/" in path:
        raise ValueError(
            f"{value!r} starts with ~ but names no home directory: write ./{value} if that path is "
            "meant"
        )
    return path


def normal(field: dataclasses.Field[Any], value: Any) -> Any:
    """Return a value in the form that the settings class stores.

    Lists become tuples, a list of one source becomes that source, and a path becomes a string, with
    `~` expanded (`path=True`), except for caches, whose setting is the same for every user
    (`path="as it is"`).

    Raises:
      ValueError: not a valid path; the message names the setting.
    """
    if field.metadata.get("path"):
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        try:
            if isinstance(value, str) and field.metadata["path"] is True:
                value = local_path(value)
            elif isinstance(value, str) and value:  # an empty one turns the cache off
                local_path(value)
            elif isinstance(value, list | tuple):
                texts = (os.fspath(v) if isinstance(v, os.PathLike) else v for v in value)
                value = [local_path(v) if isinstance(v, str) else v for v in texts]
        except ValueError as error:
            raise ValueError(f"{field.name}: {error}") from error
    if isinstance(value, list | tuple) and value and field.metadata.get("several"):
        return value[0] if len(value) == 1 else tuple(value)
    return tuple(value) if isinstance(value, list) and field.metadata.get("many") else value


def check(field: dataclasses.Field[Any], value: Any, owner: type) -> None:
    """Reject a value that a setting cannot have.

    Raises:
      ValueError: wrong type, out of bounds or not among the choices; the message names the setting.
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
        what = "a list of texts" if field.metadata.get("many") else TOLD[wanted]
        raise ValueError(f"{field.name} must be {what}: got {value!r}")
    _check_content(field.name, value)
    meta = field.metadata
    low, high = meta.get("low"), meta.get("high")
    # Phrased as comparisons that must hold, because none holds for nan.
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
    """Reject what config.json and config.toml cannot hold: non-finite numbers, non-UTF-8 text."""
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError(f"{name} must be a finite number: got {item}")
        if isinstance(item, int) and abs(item) >= 2**63:
            raise ValueError(f"{name} must be a whole number of at most 63 bits: got {item}")
        if isinstance(item, str):
            try:
                item.encode()
            except UnicodeEncodeError:
                raise ValueError(f"{name} must be valid UTF-8: got {item!r}") from None


def kinds(field: dataclasses.Field[Any], owner: type) -> tuple[type, ...]:
    """Return the types that a setting accepts; the first is the main one."""
    kind = _hints(owner)[field.name]
    return typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


@functools.cache
def _hints(owner: type) -> Mapping[str, Any]:
    """Return the types of all settings; cached, because evaluating the annotations takes ms."""
    return typing.get_type_hints(owner)


def _either(names: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def hint(name: str, names: Sequence[str], many: str | None = None) -> str:
    """Return the closest known names to an unknown one, as the end of an error message.

    Args:
      many: what to say if no name is close, and there are too many to list; None: where the
        settings of a run are listed.
    """
    near = [known for known in names if known.startswith(name)][:3]
    near = near or difflib.get_close_matches(name, names, n=3)
    if near:
        return f"; did you mean {_either(near)}?"
    if len(names) <= MANY:
        return f"; choose from: {', '.join(names)}"
    settings = f"'{command_line('train', '--help')}' lists all settings, with '-' for '_'"
    return f"; {many or settings}"
