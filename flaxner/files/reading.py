"""Reading JSON that others wrote, checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

JSON_LIMIT = 1 << 26  # bytes; tables of ten thousand labels are less than one of these 64 MiB


def read_json(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds, whoever wrote it.

    Raises:
      ValueError: cannot be read, no JSON, no object, or too large or deep to be one of ours.
    """
    try:
        with path.open("rb") as file:
            data = file.read(JSON_LIMIT + 1)
        if len(data) > JSON_LIMIT:
            raise ValueError(f"{path} is larger than {JSON_LIMIT >> 20} MiB: it is none of a model")
        value = json.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no JSON: it is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{path} is nested too deep to be read") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object: it holds {type(value).__name__}")
    return value
