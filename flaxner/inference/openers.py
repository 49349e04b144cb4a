"""Models on their engines, as pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flaxner.inference.engines import Asked, Opened, open_onnx
from flaxner.inference.options import Options
from flaxner.inference.pipeline import NerPipeline
from flaxner.inference.predictor import Predictor

if TYPE_CHECKING:
    from flaxner.inference.classifier import Classifier


def with_onnx(
    asked: Asked, options: Options, task: str, insist: bool, device: Any = None
) -> NerPipeline:
    """A model computed by ONNX Runtime; unless insisted on, by JAX where that cannot be."""
    opened = open_onnx(asked, insist=insist)
    if not isinstance(opened, Opened):
        return with_jax(opened, device, options, task)
    return NerPipeline(
        opened.tokenizer,
        opened.facts.labels,
        opened.predictor,
        options,
        opened.classifier,
        scheme=opened.facts.scheme,
        window=opened.facts.window,
        crf=opened.crf,
        context=opened.facts.context,
        temperature=opened.facts.temperature,
        task=task,
        source=asked,
    )


def with_jax(classifier: Classifier, device: Any, options: Options, task: str) -> NerPipeline:
    """A classifier that JAX computes, on its devices."""
    from flaxner.devices.compilation_cache import use_default_cache
    from flaxner.inference.jax_engine import JaxEngine, find_devices

    use_default_cache()
    engine = JaxEngine(classifier.forward, classifier.params, find_devices(device))
    predictor = Predictor(engine, len(classifier.labels), classifier.limit)
    return NerPipeline(
        classifier.tokenizer,
        classifier.labels,
        predictor,
        options,
        classifier,
        scheme=classifier.scheme,
        window=classifier.window,
        crf=classifier.crf,
        context=classifier.context,
        temperature=classifier.temperature,
        task=task,
    )
