"""Lines of metrics.jsonl as the metrics of a step, and how to tell which were reported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def grouped(line: Mapping[str, Any]) -> tuple[int, dict[str, float]]:
    """Return the step of a line of metrics.jsonl, and its numbers by names such as "train/loss"."""
    values = dict(line)
    step, group = values.pop("step"), values.pop("split", "train")
    numbers = {k: v for k, v in values.items() if isinstance(v, int | float)}
    return step, {f"{group}/{name}": value for name, value in numbers.items()}


def lines_of(metrics: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl up to the first that is incomplete."""
    lines = metrics.read_bytes().splitlines() if metrics.is_file() else []
    rows = []
    for line in lines:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def key(line: Mapping[str, Any]) -> tuple[int, str]:
    """Return the part of a line that is the same when its step is trained again."""
    return line["step"], line.get("split", "train")
