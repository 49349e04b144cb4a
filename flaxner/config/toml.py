"""Settings as TOML: the config.toml of a run."""

from __future__ import annotations

import dataclasses
from typing import Any

import tomli_w

HEADING = "# flaxner: repeat this run with"


def as_toml(settings: Any) -> str:
    """Return the fields of a settings dataclass, except those of the process; None as a comment."""
    lines = [f"{HEADING}  flaxner train --config THIS_FILE"]
    for field in dataclasses.fields(settings):
        name, value = field.name, getattr(settings, field.name)
        if field.metadata.get("of_process"):
            continue
        if value is None:
            lines.append(f"# {name} is not set")
        else:
            lines.append(tomli_w.dumps({name: value}).rstrip("\n"))
    return "\n".join(lines) + "\n"
