"""Exported pipelines: run without the model's code, used wherever a model folder is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from flaxner.data.tokenizer import load_tokenizer
from flaxner.devices.compilation_cache import use_default_cache
from flaxner.devices.environment import check_devices
from flaxner.inference.artefact import is_artefact, read_artefact
from flaxner.inference.options import Options
from flaxner.inference.pipeline import NerPipeline, pipeline
from flaxner.inference.predictor import Predictor, refuse_fork


def open_pipeline(model: Any, **options: Any) -> NerPipeline:
    """The pipeline of a model folder, a Hub name or an exported folder.

    Args:
      model: the folder or name, or a pipeline, which is returned as it is.
      **options: see `Options`.

    Raises:
      ValueError: it cannot be read, or there is no such option.
    """
    if isinstance(model, NerPipeline):
        return model
    if isinstance(model, str | Path) and is_artefact(model):
        return load_exported(model, **options)
    return pipeline("ner", model=model, **options)


def load_exported(path: str | Path, **options: Any) -> NerPipeline:
    """The pipeline that `NerPipeline.export` wrote; it runs on the first device.

    Args:
      path: the folder.
      **options: see `Options`.

    Raises:
      ValueError: no such folder, another version of the format, or no such option.
    """
    chosen = Options().changed(options)
    check_devices()
    refuse_fork()
    use_default_cache()
    artefact = read_artefact(path)
    predictor = Predictor(
        artefact.forward, artefact.params, len(artefact.labels), artefact.limit, jax.devices()[:1]
    )
    tokenizer = load_tokenizer(path)
    return NerPipeline(
        tokenizer,
        artefact.labels,
        predictor,
        chosen,
        scheme=artefact.scheme,
        window=artefact.window,
        crf=artefact.scores,
        context=artefact.context,
        temperature=artefact.temperature,
    )
