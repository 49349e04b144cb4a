"""A model as a static definition and a flat dict of parameters; NNX stays below."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Mapping
from typing import Any, Protocol

import jax
import numpy as np
from flax import nnx

from flaxner.models import tensors as weights_lib
from flaxner.models.bert import weights as bert_weights
from flaxner.models.bert.config import BertConfig, Compute
from flaxner.models.bert.network import FlaxBertForTokenClassification

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


def _join(path: tuple[Any, ...]) -> str:
    return "/".join(str(part) for part in path)
