"""The encoders flaxner knows, as (static definition, flat parameters).

Above this floor a model is a `Model`, which is static and hashable, and a flat dict of
parameters, path -> array. NNX stays below.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from flax import nnx

from flaxner import hub
from flaxner import weights as weights_lib
from flaxner.models import bert_weights
from flaxner.models.bert import FlaxBertForTokenClassification
from flaxner.models.bert_config import BertConfig, Compute

__all__ = [
    "BertConfig",
    "Compute",
    "FlaxBertForTokenClassification",
    "Model",
    "Network",
    "Pretrained",
    "load_pretrained",
    "read_config",
]

Params = dict[str, Any]


class Network(Protocol):
    """What the steps ask of a model; `Model` and `static.StaticModel` have it."""

    @property
    def frozen(self) -> Collection[str]:
        """Paths of the parameters that training leaves as they are."""

    @property
    def shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """path -> shape and dtype of every parameter."""

    def apply(
        self,
        params: Mapping[str, Any],
        input_ids_BL: jax.Array,
        segment_ids_BL: jax.Array,
        position_ids_BL: jax.Array,
        /,
        *,
        dropout_key: jax.Array | None = None,
    ) -> jax.Array:
        """logits_BLC."""


class Encoder(NamedTuple):
    """What makes an architecture: settings, network, weight names."""

    config: type[BertConfig]
    network: type[FlaxBertForTokenClassification]
    names: ModuleType


# model_type of config.json -> encoder.
ENCODERS = {"bert": Encoder(BertConfig, FlaxBertForTokenClassification, bert_weights)}


@dataclasses.dataclass(frozen=True)
class Model:
    """The static half of a model: what to compute, given parameters.

    Attributes:
      config: sizes, activation, dropout rates, number of labels.
      compute: dtype and layout of the computation.
    """

    config: BertConfig
    compute: Compute = dataclasses.field(default_factory=Compute)

    @functools.cached_property
    def _abstract(self) -> tuple[Any, dict[tuple[Any, ...], jax.ShapeDtypeStruct]]:
        def build() -> FlaxBertForTokenClassification:
            return FlaxBertForTokenClassification(
                self.config, rngs=nnx.Rngs(0), compute=self.compute
            )

        graph, state = nnx.split(nnx.eval_shape(build))
        return graph, {path: leaf.get_value() for path, leaf in nnx.to_flat_state(state)}

    @functools.cached_property
    def shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """path -> shape and dtype of every parameter."""
        return {_join(path): leaf for path, leaf in self._abstract[1].items()}

    @property
    def frozen(self) -> Collection[str]:
        """No parameter stands still in fine-tuning."""
        return ()

    @functools.cached_property
    def rules(self) -> list[weights_lib.Rule]:
        """The weight-name table, written out for every layer."""
        return weights_lib.expand(bert_weights.WEIGHTS, self.config.num_hidden_layers)

    def init(self, seed: int) -> Params:
        """Fresh parameters, float32, drawn from the seed."""

        @jax.jit
        def draw(seed: jax.Array) -> Params:
            rngs = nnx.Rngs(jax.random.key(seed))
            model = FlaxBertForTokenClassification(self.config, rngs=rngs, compute=self.compute)
            return flat_params(model)

        return draw(np.uint32(seed))

    def bind(self, params: Mapping[str, Any]) -> FlaxBertForTokenClassification:
        """The NNX module that holds these parameters."""
        graph, flat = self._abstract
        state = nnx.from_flat_state([(path, nnx.Param(params[_join(path)])) for path in flat])
        return nnx.merge(graph, state)

    def apply(
        self,
        params: Mapping[str, Any],
        input_ids_BL: jax.Array,
        segment_ids_BL: jax.Array,
        position_ids_BL: jax.Array,
        token_type_ids_BL: jax.Array | None = None,
        *,
        dropout_key: jax.Array | None = None,
    ) -> jax.Array:
        """logits_BLC; see `FlaxBertForTokenClassification.__call__`."""
        return self.bind(params)(
            input_ids_BL,
            segment_ids_BL,
            position_ids_BL,
            token_type_ids_BL,
            dropout_key=dropout_key,
        )


def flat_params(model: nnx.Module) -> Params:
    """The parameters of an NNX module as a flat dict, path -> array."""
    state = nnx.to_flat_state(nnx.state(model, nnx.Param))
    return {_join(path): leaf.get_value() for path, leaf in state}


class Pretrained(NamedTuple):
    """A model read from a Hub folder.

    Attributes:
      model: the static definition.
      params: path -> float32 array.
      fields: the content of config.json.
      fresh: PyTorch names of the weights that the folder lacks and the seed made.
      folder: where it was read from.
    """

    model: Model
    params: Params
    fields: dict[str, Any]
    fresh: list[str]
    folder: Path


def read_config(source: str | Path, *, revision: str | None = None) -> dict[str, Any]:
    """The config.json of a folder or Hub model, known to be of a supported type.

    Raises:
      ValueError: not there, no JSON, or a model_type flaxner has no encoder for.
    """
    path = hub.fetch_file(source, "config.json", revision=revision)
    try:
        fields = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    if fields.get("model_type") not in ENCODERS:
        raise ValueError(
            f"{source} is a model of type {fields.get('model_type')!r}; "
            f"flaxner knows {', '.join(ENCODERS)}"
        )
    return fields


def load_pretrained(
    source: str | Path,
    *,
    num_labels: int | None = None,
    new_head: bool = False,
    seed: int = 0,
    compute: Compute | None = None,
    revision: str | None = None,
) -> Pretrained:
    """Read a model from a folder or the Hub.

    Args:
      source: folder or Hub name.
      num_labels: width of the head; that of config.json if None.
      new_head: leave the folder's classifier aside and draw one from the seed.
      seed: for the head weights that the folder lacks.
      compute: dtype and layout of the computation.
      revision: branch, tag or commit on the Hub.

    Raises:
      ValueError: not there, unsupported, damaged, or weights that do not fit.
    """
    folder = hub.fetch_model(source, revision=revision)
    fields = read_config(folder)
    encoder = ENCODERS[fields["model_type"]]
    model = Model(encoder.config.from_hf(fields, num_labels), compute or Compute())
    tensors = weights_lib.read_tensors(folder)
    if new_head:
        heads = tuple(
            rule.theirs for rule in model.rules if rule.ours.startswith(encoder.names.HEAD)
        )
        tensors = {name: tensor for name, tensor in tensors.items() if name not in heads}
    params = weights_lib.from_hf(
        tensors,
        model.rules,
        {path: leaf.shape for path, leaf in model.shapes.items()},
        source=str(source),
        prefix=encoder.names.PREFIX,
        ignored=encoder.names.IGNORED,
        optional=encoder.names.HEAD,
    )
    names = {rule.ours: rule.theirs for rule in model.rules}
    absent = sorted(set(model.shapes) - set(params))
    if absent:
        drawn = dataclasses.replace(model, compute=Compute()).init(seed)
        params |= {path: np.asarray(drawn[path]) for path in absent}
    return Pretrained(model, params, fields, [names[path] for path in absent], folder)


def _join(path: tuple[Any, ...]) -> str:
    return "/".join(str(part) for part in path)
