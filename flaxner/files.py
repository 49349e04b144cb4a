"""Writing that is atomic: a file or folder exists whole or not at all. Reading JSON, checked."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
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


def write_text(path: Path, text: str) -> None:
    """Write a file that exists whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", newline="\n", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(file.name, 0o666 & ~_umask())
    os.replace(file.name, path)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON that exists whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder that exists whole or not at all: `fill` writes into a sibling first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        fill(draft)
        os.chmod(draft, 0o777 & ~_umask())
        if path.exists():
            shutil.rmtree(path)
        os.replace(draft, path)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
