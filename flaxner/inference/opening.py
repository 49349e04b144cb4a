"""Opens exported pipelines, which run without the model's code wherever a model folder would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flaxner.config.data import CONTEXTS
from flaxner.data.kept_tokenizer import open_tokenizer
from flaxner.inference.exports import PROGRAMS, WITH_CRF, is_artefact, read_about
from flaxner.inference.facts import Facts
from flaxner.inference.ner_pipeline import NerPipeline
from flaxner.inference.options import Options
from flaxner.inference.pipeline import pipeline
from flaxner.inference.predictor import Predictor, refuse_fork
from flaxner.models import crf


def open_pipeline(model: Any, *, engine: str | None = None, **options: Any) -> NerPipeline:
    """Open the pipeline of a model folder, a Hub name or an exported folder.

    Args:
      model: the folder or name, or a pipeline, which is returned unchanged.
      engine: see `pipeline`; ignored for an export, which has its own.
      **options: see `Options`.

    Raises:
      ValueError: the model cannot be read, or an option is unknown.
    """
    if isinstance(model, NerPipeline):
        return model
    if isinstance(model, str | Path) and is_artefact(model):
        return load_exported(model, **options)
    return pipeline("ner", model=model, engine=engine, **options)


def load_exported(path: str | Path, **options: Any) -> NerPipeline:
    """Open a pipeline that `NerPipeline.export` wrote, on the first device.

    Args:
      path: the folder.
      **options: see `Options`.

    Raises:
      ValueError: not an exported folder, another version of the format, or an unknown option.
    """
    chosen = Options().changed(options)
    refuse_fork()
    folder = Path(path)
    about = read_about(folder)
    predictor = _with_onnx(folder, about) if about["engine"] == "onnx" else _with_jax(folder, about)
    facts = Facts(
        tuple(about["labels"]),
        about.get("scheme"),
        about.get("window", about["limit"]),
        about.get("context", CONTEXTS[0]),
        about.get("temperature"),
    )
    return NerPipeline(
        open_tokenizer(path),
        facts,
        predictor,
        chosen,
        crf=crf.read(folder, len(facts.labels)) if about["version"] == WITH_CRF else None,
    )


def _with_onnx(folder: Path, about: dict[str, Any]) -> Predictor:
    from flaxner.inference.onnx_engine import OnnxEngine

    labels = len(about["labels"])
    return Predictor(OnnxEngine(folder / PROGRAMS["onnx"], labels), labels, about["limit"])


def _with_jax(folder: Path, about: dict[str, Any]) -> Predictor:
    import jax

    from flaxner.devices.compilation_cache import use_default_cache
    from flaxner.devices.environment import check_devices
    from flaxner.inference.artefact import read_artefact
    from flaxner.inference.jax_engine import JaxEngine

    check_devices()
    use_default_cache()
    labels = len(about["labels"])
    artefact = read_artefact(folder, labels)
    engine = JaxEngine(artefact.forward, artefact.params, jax.local_devices()[:1])
    return Predictor(engine, labels, about["limit"])
