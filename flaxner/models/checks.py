"""Checks of files that come with an untrusted model, made before anything is built from them.

config.json: types and bounds of the fields that shape the computation. Weights: headers, names and
values. Nothing here is specific to an architecture.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
import types
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flaxner.wording import few

if TYPE_CHECKING:
    from flaxner.models.layers.config import EncoderConfig

# Suffix of a field name in config.json -> smallest and largest integer allowed. The upper bounds
# are far above any existing model, yet too small to exhaust memory or take minutes.
BOUNDS: tuple[tuple[str, int, int], ...] = (
    ("type_vocab_size", 0, 1 << 10),
    ("conv_kernel_size", 0, 1 << 10),
    ("vocab_size", 1, 1 << 24),
    ("num_labels", 1, 1 << 16),
    ("layers", 1, 1 << 10),
    ("heads", 1, 1 << 10),
    ("position_embeddings", 1, 1 << 24),
    ("token_id", -1, 1 << 24),
)
OTHER_SIZES = (-1, 1 << 20)
PARTS = {"architectures": list, "id2label": dict, "label2id": dict}
# dtype in a safetensors header -> NumPy's dtype; weights must be floating-point.
FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
OTHERS = ("BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64", "C64")
HEADER_LIMIT = 100_000_000  # bytes; safetensors has the same limit
Header = dict[str, tuple[str, tuple[int, ...]]]


def check_config(cls: type[EncoderConfig], fields: Mapping[str, Any], source: str) -> None:
    """Refuse a config.json with a value of the wrong type or out of bounds.

    Args:
      cls: the encoder's settings class; its field annotations give the types.
      fields: the content of config.json.
      source: where it was read from.

    Raises:
      ValueError: names the field, what it must be and what it is.
    """
    given, fields = fields, cls.without_aliases(fields)
    for name, part in PARTS.items():
        if fields.get(name) is not None and not isinstance(fields[name], part):
            words = "a list" if part is list else "an object"
            raise _wrong(name, words, fields[name], source)
    if any(not isinstance(name, str) for name in fields.get("architectures") or ()):
        raise _wrong("architectures", "a list of strings", fields["architectures"], source)
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        name = cls.THEIRS.get(field.name, field.name)
        kind = int | None if name == "num_labels" else hints[field.name]
        if name in fields:
            _check_value(_given_as(cls, name, given), field.name, kind, fields[name], source)


def _check_value(name: str, ours: str, kind: Any, value: Any, source: str) -> None:
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    allowed = typing.get_args(kind) if union else (kind,)
    if value is None and type(None) in allowed:
        return
    whole = isinstance(value, int) and not isinstance(value, bool)
    if bool in allowed and isinstance(value, bool):
        return
    if str in allowed and isinstance(value, str):
        return
    if typing.get_origin(kind) is tuple:  # DeBERTa also joins the strings into one
        items = value if isinstance(value, list | tuple) else [value]
        if value is not None and not all(isinstance(item, str) for item in items):
            raise _wrong(name, "a list of strings", value, source)
        return
    if int in allowed and whole:
        low, high = _bounds(ours)
        if not low <= value <= high:
            raise _wrong(name, f"a whole number from {low} to {high}", value, source)
        return
    if float in allowed and (whole or isinstance(value, float)):
        rate = "dropout" in ours or ours.endswith("_prob")
        if not math.isfinite(value) or value < 0 or (rate and value >= 1):
            words = "at least 0 and below 1" if rate else "a finite number, at least 0"
            raise _wrong(name, words, value, source)
        return
    named = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}
    for plain in allowed:
        if plain in named:
            raise _wrong(name, named[plain], value, source)


def _given_as(cls: type[EncoderConfig], name: str, fields: Mapping[str, Any]) -> str:
    """Return the name by which a config.json gives a field: its alias, if that is there."""
    aliases = (alias for alias, usual in cls.ALIASES.items() if usual == name and alias in fields)
    return next(aliases, name)


def _bounds(name: str) -> tuple[int, int]:
    bounds = ((low, high) for end, low, high in BOUNDS if name.endswith(end))
    return next(bounds, (1 if name.endswith("size") else OTHER_SIZES[0], OTHER_SIZES[1]))


def _wrong(name: str, rule: str, value: Any, source: str) -> ValueError:
    text = repr(value)
    text = text if len(text) <= 60 else text[:60] + "…"
    return ValueError(f"{name} in the config.json of {source} must be {rule}: got {text}")


def check_sizes(
    cls: type[EncoderConfig],
    shapes: Collection[tuple[int, ...]],
    fields: Mapping[str, Any],
    source: str,
) -> None:
    """Refuse sizes in config.json that the weights cannot have, before building the model.

    Args:
      cls: the encoder's settings class.
      shapes: of the arrays in the folder.
      fields: config.json, already checked.
      source: the folder.

    Raises:
      ValueError: names the field and what the weights have instead.
    """
    given, fields = fields, cls.without_aliases(fields)
    longest = max((dim for shape in shapes for dim in shape), default=0)
    for ours in ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size"):
        name = cls.THEIRS.get(ours, ours)
        value, name = fields.get(name) or 0, _given_as(cls, name, given)
        if ours.endswith("layers") and value > max(64, len(shapes)):  # layers may be shared
            raise ValueError(
                f"{name} in the config.json of {source} is {value}, but the model has "
                f"only {len(shapes)} tensors"
            )
        if ours.endswith("size") and value > longest:
            raise ValueError(
                f"{name} in the config.json of {source} is {value}, but its largest tensor has "
                f"only {longest} rows or columns"
            )


def read_header(path: Path) -> Header:
    """Read name -> (dtype as safetensors writes it, shape) for a file's tensors, in its order.

    Raises:
      ValueError: no readable safetensors file, a duplicate name, or an unsupported dtype.
    """
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            if size > HEADER_LIMIT:
                raise ValueError("its header is too large")
            table = json.loads(file.read(size), object_pairs_hook=_once)
        if not isinstance(table, dict):
            raise ValueError("its header is not a JSON object")
        table.pop("__metadata__", None)
        rows = sorted(table.items(), key=lambda item: item[1]["data_offsets"])
        header = {name: (str(row["dtype"]), tuple(row["shape"])) for name, row in rows}
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
        raise ValueError(f"{path} is not a valid safetensors file: {error}") from error
    odd = [f"{name} ({dtype})" for name, (dtype, _) in header.items() if dtype not in FLOATS]
    odd = [text for text in odd if not text.endswith(tuple(f"({kind})" for kind in OTHERS))]
    if odd:
        raise ValueError(
            f"{path} holds weights of an unsupported dtype: {few(odd)}; save the model as "
            f"float32, float16 or bfloat16"
        )
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"its header names {twice!r} twice")
    return table


def fault(name: str, tensor: np.ndarray) -> str | None:
    """Return why an array cannot be a weight (its dtype, NaN or infinity), or None if it can."""
    if tensor.dtype.name not in FLOATS.values():
        return f"{name} is {tensor.dtype.name}"
    if not np.isfinite(tensor).all():
        return f"{name} holds NaN or infinity"
    return None
