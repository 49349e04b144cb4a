"""The `transformers` config object for a config.json, for programs that need one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def transformers_config(fields: Mapping[str, Any]) -> Any:
    """Return the `PreTrainedConfig` subclass for `model_type`, or the base class without one."""
    from transformers import AutoConfig, PretrainedConfig

    rest = {name: value for name, value in fields.items() if name != "model_type"}
    kind = fields.get("model_type")
    return AutoConfig.for_model(kind, **rest) if kind else PretrainedConfig(**rest)
