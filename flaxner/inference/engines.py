"""Which engine computes the forward pass, and the pipeline's parts with ONNX Runtime as one."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flaxner import hub
from flaxner.inference import kept_graph, onnx_engine
from flaxner.inference.facts import Facts, Labels, label_table, read_facts
from flaxner.inference.fitting import fitting_tokenizer
from flaxner.inference.precision import AUTO, file_dtype
from flaxner.inference.predictor import Predictor
from flaxner.models import crf
from flaxner.models.config_json import check_head, read_plain_config
from flaxner.models.graph_weights import STATIC

if TYPE_CHECKING:
    from flaxner.inference.classifier import Classifier
    from flaxner.models.crf import Scores

logger = logging.getLogger("flaxner")

ENGINES = ("auto", "jax", "onnx")
VARIABLE = "FLAXNER_ENGINE"  # what `engine` is where a call does not say
# Of a model's files: larger ones take long to write, and room, so that it must be asked for.
MADE_UNASKED = 1 << 30


class Request(NamedTuple):
    """A model as `pipeline` is asked for it; see there.

    Attributes:
      model, tokenizer, labels, dtype, revision, scheme: as there, `labels` being id2label.
      weights: "float32", or "int8" of ONNX Runtime.
    """

    model: Any
    tokenizer: Any = None
    labels: Labels = None
    dtype: str = "float32"
    revision: str | None = None
    scheme: str | None = None
    weights: str = "float32"

    def load(self) -> Classifier:
        """The classifier, which JAX computes.

        Raises:
          ValueError: as `classifier.load_classifier`.
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
    """What a pipeline is made of.

    Attributes:
      tokenizer: of the model.
      facts: of its labels.
      predictor: the model.
      classifier: its definition, where it had to be read.
      crf: the scores of its CRF, if it has one.
    """

    tokenizer: Any
    facts: Facts
    predictor: Predictor
    classifier: Classifier | None
    crf: Scores | None


def choose(engine: str | None, request: Request, device: Any) -> str:
    """The engine for a call: "jax", "onnx", or "auto" where ONNX Runtime may serve.

    Args:
      engine: one of ENGINES; that of the environment where it can do what is asked, or "auto", if
        None.
      request: the model.
      device: as `pipeline` takes it.

    Raises:
      ValueError: no such engine, or one that cannot do what is asked.
    """
    wished, engine = engine is None, engine or os.environ.get(VARIABLE) or "auto"
    if engine not in ENGINES:
        of = f" (of {VARIABLE})" if wished else ""
        raise ValueError(f"engine must be one of {', '.join(ENGINES)}: got {engine!r}{of}")
    if request.weights not in kept_graph.WEIGHTS:
        if request.weights == STATIC:
            raise ValueError(
                "int8-static takes its scales from texts: write a folder with scripts/export.py "
                "--weights int8-static --calibration-file, and open that"
            )
        known = ", ".join(kept_graph.WEIGHTS)
        raise ValueError(f"weights must be one of {known}: got {request.weights!r}")
    if engine == "jax":
        if request.weights != "float32":
            raise ValueError("weights='int8' is computed by ONNX Runtime: say engine='onnx'")
        return engine
    fault = _fault(request, device)
    if wished and engine == "onnx" and request.weights == "float32":
        # The environment speaks of all calls, and cannot know what each asks.
        return "auto" if fault is None and onnx_engine.is_installed() else "jax"
    if engine == "onnx" or request.weights != "float32":
        if fault is not None:
            raise ValueError(f"ONNX Runtime {fault}: say engine='jax'")
        onnx_engine.require()
        return "onnx"
    serves = fault is None and _cpu_alone(device) and onnx_engine.is_installed()
    return "auto" if serves else "jax"


def _fault(request: Request, device: Any) -> str | None:
    """Why ONNX Runtime cannot serve a call; None: it can."""
    if not isinstance(request.model, str | Path):
        return "needs a model folder or a Hub name, not a model in memory"
    if request.dtype not in ("float32", AUTO):
        return f"computes in float32, not in {request.dtype}"
    platform = getattr(device, "platform", None) or str(device).partition(":")[0]
    if device is not None and device != -1 and platform != "cpu":
        return f"computes on the CPU, not on {device!r}"
    return None


def _cpu_alone(device: Any) -> bool:
    """Whether a call means the CPU, as far as can be told without starting JAX."""
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return False  # several devices were made of it, to be used
    if device is not None:
        return True
    platforms = os.environ.get("JAX_PLATFORMS") or ""
    if "jax" in sys.modules and not platforms:
        platforms = str(sys.modules["jax"].config.jax_platforms or "")
    if platforms:
        return platforms == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and importlib.util.find_spec("libtpu") is None


def open_onnx(request: Request, *, insist: bool) -> Opened | Classifier:
    """A model of a folder or the Hub, computed by ONNX Runtime.

    Its graph is taken from the cache, or made and kept there.

    Args:
      request: the model.
      insist: else the classifier alone is returned where the graph cannot be had cheaply.

    Raises:
      ValueError: as `Request.load`; or, if insisted on, a model that ONNX Runtime cannot compute.
    """
    folder = hub.fetch_model(request.model, revision=request.revision)
    request = request._replace(model=folder, revision=None)
    fields = read_plain_config(folder)
    if request.dtype == AUTO and file_dtype(fields, folder) != "float32":
        if insist:
            raise ValueError(f"engine='onnx' computes in float32, not in that of {folder}")
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
        logger.info("the forward pass of %s is ONNX Runtime's; its graph is in %s", folder, where)
    known = Facts(
        classifier.labels,
        classifier.scheme,
        classifier.window,
        classifier.context,
        classifier.temperature,
    )
    return Opened(classifier.tokenizer, known, predictor, classifier, classifier.crf)


def _is_cheap(folder: Path, classifier: Classifier) -> bool:
    """Whether a graph may be made that nobody asked for."""
    size = sum(path.stat().st_size for path in kept_graph.model_files(folder))
    has_one = classifier.model.encoder.graph is not None
    return has_one and size <= MADE_UNASKED and kept_graph.can_be_made()


def _from_graph(
    request: Request, where: Path, graph: kept_graph.GraphFacts, fields: Mapping[str, Any]
) -> Opened:
    name = str(request.model)
    check_head(fields, name)
    label_table(fields, request.labels, name)
    facts = read_facts(
        fields, name, graph.num_labels, graph.limit, labels=request.labels, scheme=request.scheme
    )
    tokenizer = fitting_tokenizer(request.tokenizer, request.model, graph.vocab_size, name)
    predictor = _predictor(where, graph)
    logger.info("the forward pass of %s is ONNX Runtime's, kept in %s", name, where)
    scores = crf.read(request.model, graph.num_labels) if crf.is_named(fields, name) else None
    return Opened(tokenizer, facts, predictor, None, scores)


def _predictor(where: Path, facts: kept_graph.GraphFacts) -> Predictor:
    engine = onnx_engine.OnnxEngine(where / kept_graph.PROGRAM, facts.num_labels)
    return Predictor(engine, facts.num_labels, facts.limit)
