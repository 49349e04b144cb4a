"""The config object that `transformers` makes of a config.json, for programs that ask for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def transformers_config(fields: Mapping[str, Any]) -> Any:
    """A `PreTrainedConfig` of the class that `model_type` names, or a plain one without it."""
    from transformers import AutoConfig, PretrainedConfig

    rest = {name: value for name, value in fields.items() if name != "model_type"}
    kind = fields.get("model_type")
    return AutoConfig.for_model(kind, **rest) if kind else PretrainedConfig(**rest)
