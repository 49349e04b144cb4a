"""Fine-tune BERT for named entity recognition in JAX; publish it as a PyTorch model."""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

__version__ = "0.1.0"

# public name -> module that holds it; imported when asked for, so that `import flaxner` is quick
_HOMES = {
    "FlaxBertForTokenClassification": "flaxner.models",
    "LabelScheme": "flaxner.labels",
    "NerPipeline": "flaxner.pipeline",
    "evaluate": "flaxner.scoring",
    "load_exported": "flaxner.exported",
    "PreflightReport": "flaxner.preflight",
    "TrainConfig": "flaxner.config",
    "export_folder": "flaxner.export",
    "pipeline": "flaxner.pipeline",
    "push_to_hub": "flaxner.publishing",
    "preflight": "flaxner.preflight",
    "read_corpus": "flaxner.corpus",
    "train": "flaxner.training",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'flaxner' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


class _Package(types.ModuleType):
    """A package in which a public function may be called as its module is.

    Importing flaxner.pipeline would otherwise put the module where users expect the function.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
