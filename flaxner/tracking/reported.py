"""Lines of metrics.jsonl as figures of a step, and which of them have been reported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def grouped(line: Mapping[str, Any]) -> tuple[int, dict[str, float]]:
    """A line of metrics.jsonl -> its step, and its figures by names such as "train/loss"."""
    values = dict(line)
    step, group = values.pop("step"), values.pop("split", "train")
    numbers = {k: v for k, v in values.items() if isinstance(v, int | float)}
    return step, {f"{group}/{name}": value for name, value in numbers.items()}


def lines_of(metrics: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, of those before it is cut; half a line at its end is none."""
    lines = metrics.read_bytes().splitlines() if metrics.is_file() else []
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def key(line: Mapping[str, Any]) -> tuple[int, str]:
    """What of a line is the same when its step is trained again."""
    return line["step"], line.get("split", "train")
