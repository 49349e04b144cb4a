"""Checked reading of JSON that others wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

JSON_LIMIT = 1 << 26  # bytes; a table of ten thousand labels takes less than one of the 64 MiB


def read_json(path: Path) -> dict[str, Any]:
    """Read the object in a JSON file, whoever wrote it.

    Raises:
      ValueError: it cannot be read, is not JSON, is not an object, or is too large or too deep.
    """
    try:
        with path.open("rb") as file:
            data = file.read(JSON_LIMIT + 1)
        if len(data) > JSON_LIMIT:
            raise ValueError(f"{path} is larger than {JSON_LIMIT >> 20} MiB: not a model's file")
        value = json.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: it is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deeply to be read") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object: it holds {type(value).__name__}")
    return value


def holds(path: Path, *names: str) -> bool:
    """Whether a file holds a JSON object with all of these names."""
    try:
        return read_json(path).keys() >= set(names)
    except ValueError:
        return False
