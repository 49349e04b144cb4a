"""Fine-tune BERT for named entity recognition in JAX; publish it as a PyTorch model."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name -> module that defines it; imported on first use, so that `import flaxner` is fast
_HOMES = {
    "Corpus": "flaxner.data.corpus",
    "Evaluation": "flaxner.evaluation.classifier_scores",
    "FlaxAutoModelForTokenClassification": "flaxner.models.auto",
    "FlaxBertForTokenClassification": "flaxner.models.auto",
    "FlaxCamembertForTokenClassification": "flaxner.models.auto",
    "FlaxDebertaForTokenClassification": "flaxner.models.auto",
    "FlaxDebertaV2ForTokenClassification": "flaxner.models.auto",
    "FlaxDistilBertForTokenClassification": "flaxner.models.auto",
    "FlaxElectraForTokenClassification": "flaxner.models.auto",
    "FlaxModernBertForTokenClassification": "flaxner.models.auto",
    "FlaxRobertaForTokenClassification": "flaxner.models.auto",
    "FlaxXLMRobertaForTokenClassification": "flaxner.models.auto",
    "LabelScheme": "flaxner.data.labels",
    "NerPipeline": "flaxner.inference.ner_pipeline",
    "PreflightReport": "flaxner.aot.report",
    "ReadOptions": "flaxner.data.readers",
    "RunStopped": "flaxner.training.stopping",
    "Sentence": "flaxner.data.sentence",
    "TrainConfig": "flaxner.config.train",
    "TrainResult": "flaxner.training.trainer",
    "evaluate": "flaxner.evaluation.classifier_scores",
    "export_folder": "flaxner.publishing.hub_folder",
    "load_exported": "flaxner.inference.opening",
    "pipeline": "flaxner.inference.pipeline",
    "preflight": "flaxner.aot.preflight",
    "push_to_hub": "flaxner.publishing.push",
    "read_corpus": "flaxner.data.corpus",
    "render": "flaxner.inference.rendering",
    "train": "flaxner.training.run",
}
__all__ = sorted(_HOMES)

# isort: off
if TYPE_CHECKING:  # the same table, for type checkers and editors
    from flaxner.aot.preflight import preflight as preflight
    from flaxner.aot.report import PreflightReport as PreflightReport
    from flaxner.config.train import TrainConfig as TrainConfig
    from flaxner.data.corpus import Corpus as Corpus
    from flaxner.data.corpus import read_corpus as read_corpus
    from flaxner.data.labels import LabelScheme as LabelScheme
    from flaxner.data.readers import ReadOptions as ReadOptions
    from flaxner.data.sentence import Sentence as Sentence
    from flaxner.evaluation.classifier_scores import Evaluation as Evaluation
    from flaxner.evaluation.classifier_scores import evaluate as evaluate
    from flaxner.inference.ner_pipeline import NerPipeline as NerPipeline
    from flaxner.inference.opening import load_exported as load_exported
    from flaxner.inference.pipeline import pipeline as pipeline
    from flaxner.inference.rendering import render as render
    from flaxner.models.auto import (
        FlaxAutoModelForTokenClassification as FlaxAutoModelForTokenClassification,
        FlaxBertForTokenClassification as FlaxBertForTokenClassification,
        FlaxCamembertForTokenClassification as FlaxCamembertForTokenClassification,
        FlaxDebertaForTokenClassification as FlaxDebertaForTokenClassification,
        FlaxDebertaV2ForTokenClassification as FlaxDebertaV2ForTokenClassification,
        FlaxDistilBertForTokenClassification as FlaxDistilBertForTokenClassification,
        FlaxElectraForTokenClassification as FlaxElectraForTokenClassification,
        FlaxModernBertForTokenClassification as FlaxModernBertForTokenClassification,
        FlaxRobertaForTokenClassification as FlaxRobertaForTokenClassification,
        FlaxXLMRobertaForTokenClassification as FlaxXLMRobertaForTokenClassification,
    )
    from flaxner.publishing.hub_folder import export_folder as export_folder
    from flaxner.publishing.push import push_to_hub as push_to_hub
    from flaxner.training.run import train as train
    from flaxner.training.stopping import RunStopped as RunStopped
    from flaxner.training.trainer import TrainResult as TrainResult
else:

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'flaxner' has no attribute {name!r}")
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
