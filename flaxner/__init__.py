"""Fine-tune BERT for named entity recognition in JAX; publish it as a PyTorch model."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

# public name -> module that defines it; imported on first use, so that `import flaxner` is fast
_HOMES = {
    "FlaxAutoModelForTokenClassification": "flaxner.models.auto",
    "FlaxBertForTokenClassification": "flaxner.models.auto",
    "FlaxDebertaForTokenClassification": "flaxner.models.auto",
    "FlaxDebertaV2ForTokenClassification": "flaxner.models.auto",
    "FlaxCamembertForTokenClassification": "flaxner.models.auto",
    "FlaxDistilBertForTokenClassification": "flaxner.models.auto",
    "FlaxElectraForTokenClassification": "flaxner.models.auto",
    "FlaxModernBertForTokenClassification": "flaxner.models.auto",
    "FlaxRobertaForTokenClassification": "flaxner.models.auto",
    "FlaxXLMRobertaForTokenClassification": "flaxner.models.auto",
    "LabelScheme": "flaxner.data.labels",
    "NerPipeline": "flaxner.inference.ner_pipeline",
    "evaluate": "flaxner.evaluation.classifier_scores",
    "load_exported": "flaxner.inference.opening",
    "PreflightReport": "flaxner.aot.report",
    "TrainConfig": "flaxner.config.train",
    "export_folder": "flaxner.publishing.hub_folder",
    "pipeline": "flaxner.inference.pipeline",
    "push_to_hub": "flaxner.publishing.push",
    "preflight": "flaxner.aot.preflight",
    "render": "flaxner.inference.rendering",
    "read_corpus": "flaxner.data.corpus",
    "train": "flaxner.training.run",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'flaxner' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
