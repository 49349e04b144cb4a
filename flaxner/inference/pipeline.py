"""`pipeline("ner")` in JAX: opens a model on the engine that runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flaxner.inference import arguments
from flaxner.inference.engines import Opened, Request, choose, open_onnx
from flaxner.inference.exports import is_artefact
from flaxner.inference.ner_pipeline import TASKS, NerPipeline
from flaxner.inference.options import Options
from flaxner.inference.predictor import Predictor, refuse_fork

if TYPE_CHECKING:
    from flaxner.inference.classifier import Classifier, ModelSource


def pipeline(
    task: str | None = None,
    model: ModelSource | None = None,
    config: Any = None,
    tokenizer: Any = None,
    *,
    revision: str | None = None,
    device: Any = None,
    dtype: Any = None,
    id2label: Mapping[Any, str] | Sequence[str] | None = None,
    scheme: str | None = None,
    engine: str | None = None,
    weights: str = "float32",
    **others: Any,
) -> NerPipeline:
    """Create a pipeline for named entity recognition, like `transformers.pipeline("ner", ...)`.

    Args:
      task: "ner" or "token-classification".
      model: a folder, a Hub name or a flaxner model.
      config: accepted because `transformers` has it here; the model's own is always used.
      tokenizer: a fast tokenizer, its folder or its Hub name; the model's own if None.
      revision: branch, tag or commit on the Hub.
      device: "cpu", "gpu" or "tpu", one of `jax.local_devices()` or its number; all of them if
        None.
      dtype: dtype of the computation, by name or as a dtype of torch, NumPy or JAX. "float32" (the
        default) gives the scores of PyTorch in float32; "bfloat16" is faster on TPU and GPU;
        "float16"; "auto" is the dtype of the model's file, the default of `transformers` 5.
      id2label: names of the labels; those of config.json if None.
      scheme: scheme of the labels, such as "IOB2", which defines the legal tag sequences; "any"
        makes all legal. If None, config.json tells (as in all our models) or the labels do; if
        the labels leave open whether it is IOB1 or IOB2, the model's answers to some sentences do.
      engine: what runs the forward pass: "jax"; "onnx", ONNX Runtime on the CPU, with the same
        packed rows; or "auto" (the default unless FLAXNER_ENGINE names another): ONNX Runtime if
        it is installed and JAX would compute on a single CPU in float32. Its graph is created
        when the model is first opened, and kept on disk.
      weights: "float32", or "int8": ONNX Runtime with 8-bit weights and matrix products.
      **others: see `Options`; also the arguments of `transformers.pipeline`, which are accepted
        if they change nothing.

    Raises:
      ValueError: not a token classifier, a slow tokenizer, or unknown options.
      RuntimeError: the process was forked from one that has a pipeline.
    """
    if task is not None and task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}: got {task!r}")
    if model is None:
        raise ValueError("no model is given: use pipeline('ner', model=FOLDER_OR_HUB_NAME)")
    if isinstance(model, str | Path) and is_artefact(model):
        raise ValueError(f"{model} is an exported pipeline: open it with flaxner.load_exported")
    theirs = {name: value for name, value in others.items() if name in arguments.OTHERS}
    chosen = Options().changed({k: v for k, v in others.items() if k not in theirs})
    precision = arguments.settled(model, config, dtype, theirs)
    refuse_fork()
    request = Request(model, tokenizer, id2label, precision, revision, scheme, weights)
    chosen_engine = choose(engine, request, device)
    if chosen_engine == "jax":
        return with_jax(request.load(), device, chosen, task or TASKS[1])
    return with_onnx(request, chosen, task or TASKS[1], chosen_engine == "onnx", device)


def with_onnx(
    request: Request, options: Options, task: str, insist: bool, device: Any = None
) -> NerPipeline:
    """Create a pipeline on ONNX Runtime; without `insist`, on JAX where that is not possible."""
    opened = open_onnx(request, insist=insist)
    if not isinstance(opened, Opened):
        return with_jax(opened, device, options, task)
    return NerPipeline(
        opened.tokenizer,
        opened.facts,
        opened.predictor,
        options,
        opened.classifier,
        crf=opened.crf,
        task=task,
        source=request,
    )


def with_jax(classifier: Classifier, device: Any, options: Options, task: str) -> NerPipeline:
    """Create a pipeline that runs a classifier in JAX, on a device or on all."""
    from flaxner.devices.compilation_cache import use_default_cache
    from flaxner.inference.jax_engine import JaxEngine, find_devices
    from flaxner.inference.kept_program import kept_forward

    use_default_cache()
    devices = find_devices(device)
    classifier = classifier.on(devices[0])
    engine = JaxEngine(kept_forward(classifier, devices), classifier.params, devices)
    predictor = Predictor(engine, len(classifier.facts.labels), classifier.limit)
    return NerPipeline(
        classifier.tokenizer,
        classifier.facts,
        predictor,
        options,
        classifier,
        crf=classifier.crf,
        task=task,
    )
