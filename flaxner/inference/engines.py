"""Chooses the engine for the forward pass, and opens models on ONNX Runtime."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flaxner import hub
from flaxner.devices.plugins import has_plugin
from flaxner.inference import kept_graph, onnx_engine
from flaxner.inference.facts import Facts, Labels, read_facts
from flaxner.inference.fitting import fitting_tokenizer
from flaxner.inference.precision import AUTO, file_dtype
from flaxner.inference.predictor import Predictor
from flaxner.models import crf
from flaxner.models.config_json import check_head, read_plain_config
from flaxner.models.graph_weights import STATIC
from flaxner.typed_commands import command_line

if TYPE_CHECKING:
    from flaxner.inference.classifier import Classifier
    from flaxner.models.crf import Scores

logger = logging.getLogger("flaxner")

ENGINES = ("auto", "jax", "onnx")
VARIABLE = "FLAXNER_ENGINE"  # default for `engine`
# Largest model, in bytes, whose graph is created unasked; larger ones take time and disk space.
MADE_UNASKED = 1 << 30


class Request(NamedTuple):
    """The arguments of `pipeline` that describe a model.

    Attributes:
      model, tokenizer, labels, dtype, revision, scheme: see `pipeline`; `labels` is id2label.
      weights: "float32", or "int8" on ONNX Runtime.
    """

    model: Any
    tokenizer: Any = None
    labels: Labels = None
    dtype: str = "float32"
    revision: str | None = None
    scheme: str | None = None
    weights: str = "float32"

    def load(self) -> Classifier:
        """Load the classifier, for JAX.

        Raises:
          ValueError: see `classifier.load_classifier`.
        """
        from flaxner.inference.classifier import load_classifier

        return load_classifier(
            self.model,
            self.tokenizer,
            labels=self.labels,
            dtype=self.dtype,
            revision=self.revision,
            scheme=self.scheme,
        )


class Opened(NamedTuple):
    """The parts of a pipeline.

    Attributes:
      tokenizer: the model's tokenizer.
      facts: about its labels and windows.
      predictor: runs the model.
      classifier: its definition, if it had to be loaded.
      crf: the scores of its CRF, if it has one.
    """

    tokenizer: Any
    facts: Facts
    predictor: Predictor
    classifier: Classifier | None
    crf: Scores | None


def choose(engine: str | None, request: Request, device: Any) -> str:
    """Choose the engine for a call: "jax", "onnx", or "auto" if ONNX Runtime is an option.

    Args:
      engine: one of ENGINES. None: the one in FLAXNER_ENGINE if it supports the request, else
        "auto".
      request: the model.
      device: see `pipeline`.

    Raises:
      ValueError: unknown engine, or one that does not support the request.
    """
    wished, engine = engine is None, engine or os.environ.get(VARIABLE) or "auto"
    if engine not in ENGINES:
        source = f" (from {VARIABLE})" if wished else ""
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}: got {engine!r}{source}")
    if request.weights not in kept_graph.WEIGHTS:
        if request.weights == STATIC:
            raise ValueError(
                "int8-static needs texts for calibration: export the model with "
                f"{command_line('export')} --weights int8-static --calibration-file FILE, and open "
                "the exported folder"
            )
        known = ", ".join(kept_graph.WEIGHTS)
        raise ValueError(f"weights must be one of {known}: got {request.weights!r}")
    if engine == "jax":
        if request.weights != "float32":
            raise ValueError("weights='int8' needs ONNX Runtime: use engine='onnx'")
        return engine
    fault = _fault(request, device)
    if wished and engine == "onnx" and request.weights == "float32":
        # The variable applies to all calls, including those that ONNX Runtime cannot serve.
        return "auto" if fault is None and onnx_engine.is_installed() else "jax"
    if engine == "onnx" or request.weights != "float32":
        if fault is not None:
            raise ValueError(f"ONNX Runtime {fault}: use engine='jax'")
        onnx_engine.require()
        return "onnx"
    serves = fault is None and _cpu_alone(device) and onnx_engine.is_installed()
    return "auto" if serves else "jax"


def _fault(request: Request, device: Any) -> str | None:
    """Return why ONNX Runtime cannot serve a call; None if it can."""
    if not isinstance(request.model, str | Path):
        return "needs a model folder or a Hub name, not a model in memory"
    if request.dtype not in ("float32", AUTO):
        return f"computes in float32, not in {request.dtype}"
    if device is None or (isinstance(device, int) and device < 0):
        return None
    platform = getattr(device, "platform", None) or str(device).partition(":")[0]
    if platform != "cpu":
        return f"runs on the CPU, not on {device!r}"
    return None


def _cpu_alone(device: Any) -> bool:
    """Whether a call would use the CPU, as far as that is known without starting JAX."""
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return False  # the user split it into several devices in order to use them
    if device is not None:
        return True
    platforms = os.environ.get("JAX_PLATFORMS") or ""
    if "jax" in sys.modules and not platforms:
        platforms = str(sys.modules["jax"].config.jax_platforms or "")
    if platforms:
        return platforms == "cpu"
    return not has_plugin()


def open_onnx(request: Request, *, insist: bool) -> Opened | Classifier:
    """Open a model from a folder or the Hub on ONNX Runtime.

    Its graph is taken from the cache, or created and kept there.

    Args:
      request: the model.
      insist: if False, return just the classifier where creating the graph would be expensive
        or is not possible.

    Raises:
      ValueError: see `Request.load`; with `insist`, also for models without an ONNX graph.
    """
    folder = hub.fetch_model(request.model, revision=request.revision)
    request = request._replace(model=folder, revision=None)
    fields = read_plain_config(folder)
    if request.dtype == AUTO and file_dtype(fields, folder) != "float32":
        if insist:
            raise ValueError(f"engine='onnx' computes in float32, not in the dtype of {folder}")
        return request.load()
    key = kept_graph.key_of_folder(folder, request.weights)
    graph = kept_graph.find_graph(key)
    if graph is not None:
        return _from_graph(request, *graph, fields)
    classifier = request.load()
    if not insist and not _is_cheap(folder, classifier):
        return classifier
    with kept_graph.new_graph(key, classifier, request.weights) as (where, facts):
        predictor = _predictor(where, facts)
        logger.info("ONNX Runtime runs %s; its graph is kept in %s", folder, where)
    return Opened(classifier.tokenizer, classifier.facts, predictor, classifier, classifier.crf)


def _is_cheap(folder: Path, classifier: Classifier) -> bool:
    """Whether a graph may be created without being asked for."""
    size = sum(path.stat().st_size for path in kept_graph.model_files(folder))
    has_one = classifier.model.encoder.graph is not None
    return has_one and size <= MADE_UNASKED and kept_graph.can_be_made()


def _from_graph(
    request: Request, where: Path, graph: kept_graph.GraphFacts, fields: Mapping[str, Any]
) -> Opened:
    name = str(request.model)
    check_head(fields, name)
    facts = read_facts(
        fields, name, graph.num_labels, graph.limit, labels=request.labels, scheme=request.scheme
    )
    tokenizer = fitting_tokenizer(request.tokenizer, request.model, graph.vocab_size, name)
    predictor = _predictor(where, graph)
    logger.info("ONNX Runtime runs %s with the graph kept in %s", name, where)
    scores = crf.read(request.model, graph.num_labels) if crf.is_named(fields, name) else None
    return Opened(tokenizer, facts, predictor, None, scores)


def _predictor(where: Path, facts: kept_graph.GraphFacts) -> Predictor:
    engine = onnx_engine.OnnxEngine(where / kept_graph.PROGRAM, facts.num_labels)
    return Predictor(engine, facts.num_labels, facts.limit)
