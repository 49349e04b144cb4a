"""A model as a static definition plus a flat dict of parameters; NNX stays inside."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Protocol

import jax
import numpy as np
from flax import nnx

from flaxner.data.packing import Blocks
from flaxner.models import crf
from flaxner.models.encoders import ENCODERS, encoder_of
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.config import EncoderConfig
from flaxner.models.layers.dense import Dense, rounded_together
from flaxner.models.layers.encoder import Encoder
from flaxner.models.layers.token_classifier import TokenClassifier
from flaxner.models.tensors import Rule

Params = dict[str, Any]


class Network(Protocol):
    """What training and evaluation steps need from a model: `Model` or `vectors.StaticModel`."""

    @property
    def frozen(self) -> Collection[str]:
        """Paths of the parameters that training does not update."""

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
        blocks: Blocks | None = None,
    ) -> jax.Array:
        """Compute logits_BLC; no segment crosses the border of one of the `blocks`."""


class Unbound:
    """An NNX network without its arrays.

    Args of the constructor:
      build: builds the network.

    Attributes:
      network: the network, with shapes instead of arrays.
      shapes: path -> shape and dtype of every parameter.
    """

    def __init__(self, build: Callable[[], nnx.Module]) -> None:
        self.network = nnx.eval_shape(build)
        self._graph, state = nnx.split(self.network)
        leaves = nnx.to_flat_state(state)
        self._places = {_join(path): path for path, _ in leaves}
        self.shapes = {_join(path): leaf.get_value() for path, leaf in leaves}

    def bind(self, params: Mapping[str, Any]) -> Any:
        """Return the network with these parameters; others among them are ignored."""
        leaves = [(place, nnx.Param(params[path])) for path, place in self._places.items()]
        return nnx.merge(self._graph, nnx.from_flat_state(leaves))


@dataclasses.dataclass(frozen=True)
class Model:
    """The static half of a model: the computation, given parameters.

    Attributes:
      config: sizes, activation, dropout rates and number of labels for one of the ENCODERS.
      compute: dtype and layout of the computation.
      crf: whether the parameters include CRF scores; logits do not depend on them.
    """

    config: EncoderConfig
    compute: Compute = dataclasses.field(default_factory=Compute)
    crf: bool = False

    @classmethod
    def from_fields(
        cls,
        fields: Mapping[str, Any],
        num_labels: int | None = None,
        compute: Compute | None = None,
        source: str = "config.json",
    ) -> Model:
        """Return the model that the content of a config.json describes.

        Raises:
          ValueError: the model_type, a field or the decoder is not supported.
        """
        config = encoder_of(fields.get("model_type"), source).config.from_hf(fields, num_labels)
        return cls(config, compute or Compute(), crf.is_named(fields, source))

    @property
    def encoder(self) -> Encoder:
        """The model's row in the table of encoders."""
        return ENCODERS[self.config.model_type]

    @functools.cached_property
    def _unbound(self) -> Unbound:
        return Unbound(lambda: self.build(nnx.Rngs(0)))

    @functools.cached_property
    def _narrow(self) -> list[str]:
        """Paths of the kernels that are multiplied in a narrower dtype than they are stored in."""
        return [
            _join((*path, "kernel"))
            for path, part in nnx.iter_graph(self._unbound.network)
            if isinstance(part, Dense) and part.dtype != part.param_dtype
        ]

    @functools.cached_property
    def shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        """path -> shape and dtype of every parameter."""
        return self._unbound.shapes | (crf.shapes(self.config.num_labels) if self.crf else {})

    @property
    def frozen(self) -> Collection[str]:
        """No paths: fine-tuning updates every parameter."""
        return ()

    @functools.cached_property
    def rules(self) -> list[Rule]:
        """The weight-name table, expanded for every layer."""
        return self.encoder.names.rules(self.config)

    def build(self, rngs: nnx.Rngs) -> TokenClassifier:
        """Build the network with newly initialised weights."""
        network: Any = self.encoder.network
        return network(self.config, rngs=rngs, compute=self.compute)

    def init(self, seed: int) -> Params:
        """Initialise parameters from the seed, in float32; CRF scores are 0."""
        drawn = self._draw(np.uint32(seed))
        return drawn | (crf.zeros(self.config.num_labels) if self.crf else {})

    def init_some(self, seed: int, paths: Iterable[str]) -> Params:
        """Initialise only the parameters at these paths, none of them a CRF's, as `init` would."""
        return _drawn(self, tuple(sorted(paths)), np.uint32(seed))

    def _draw(self, seed: np.uint32 | jax.Array) -> Params:
        return flat_params(self.build(nnx.Rngs(root_key(seed))))

    def bind(self, params: Mapping[str, Any]) -> TokenClassifier:
        """Return the NNX module that holds these parameters."""
        return self._unbound.bind(params)

    def apply(
        self,
        params: Mapping[str, Any],
        input_ids_BL: jax.Array,
        segment_ids_BL: jax.Array,
        position_ids_BL: jax.Array,
        token_type_ids_BL: jax.Array | None = None,
        *,
        dropout_key: jax.Array | None = None,
        blocks: Blocks | None = None,
    ) -> jax.Array:
        """Compute logits_BLC of packed rows; positions count from 0 within each segment.

        With `blocks`, attention is computed within blocks of a row, see `attention.by_blocks`.
        """
        if self._narrow:
            kernels = rounded_together([params[p] for p in self._narrow], self.compute.dtype)
            params = {**params, **dict(zip(self._narrow, kernels, strict=True))}
        network = self.bind(params)
        return network(
            input_ids_BL,
            segment_ids_BL,
            position_ids=network.packed_positions(input_ids_BL, position_ids_BL),
            token_type_ids=token_type_ids_BL,
            dropout_key=dropout_key,
            blocks=blocks,
        )

    def hidden_states(
        self,
        params: Mapping[str, Any],
        input_ids_BL: jax.Array,
        segment_ids_BL: jax.Array,
        position_ids_BL: jax.Array,
    ) -> list[jax.Array]:
        """Compute x_BLD of packed rows for the embeddings and for every layer."""
        network = self.bind(params)
        return network.encode(
            input_ids_BL,
            segment_ids_BL,
            position_ids=network.packed_positions(input_ids_BL, position_ids_BL),
            all_layers=True,
        )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _drawn(model: Model, paths: tuple[str, ...], seed: jax.Array) -> Params:
    """Draw in one compiled program, from which the compiler drops all unused parameters."""
    drawn = model._draw(seed)
    return {path: drawn[path] for path in paths}


def changes(model: Model, network: TokenClassifier) -> list[str]:
    """Return where a network's parameters, layers or methods are not those of its config's model.

    A layer may have become one that its own class derives from, such as `nnx.Linear`.
    """
    ours, held = model.shapes, flat_params(network)
    odd = {path for path in ours.keys() | held if _shape(ours, path) != _shape(held, path)}
    built = dict(nnx.iter_modules(model._unbound.network))
    for path, part in nnx.iter_modules(network):
        if path and not isinstance(built.get(path), type(part)):
            odd.add(_join(path))
    methods = {
        f"its method {name}"
        for name in vars(TokenClassifier).keys() - {"__init__"}
        if callable(method := getattr(model.encoder.network, name))
        and getattr(type(network), name) is not method
    }
    return sorted(odd) or sorted(methods)


def _shape(params: Mapping[str, Any], path: str) -> tuple[int, ...] | None:
    return params[path].shape if path in params else None


def root_key(seed: int | np.uint32 | jax.Array) -> jax.Array:
    """Return the key that all random numbers of a run derive from.

    They come from threefry even where JAX's default is another generator: a run resumed or repeated
    under other JAX settings must draw the same, and so must another number of devices.
    """
    return jax.random.key(seed, impl="threefry2x32")


def flat_params(model: nnx.Module) -> Params:
    """Return the parameters of an NNX module as a flat dict, path -> array."""
    state = nnx.to_flat_state(nnx.state(model, nnx.Param))
    return {_join(path): leaf.get_value() for path, leaf in state}


def _join(path: tuple[Any, ...]) -> str:
    return "/".join(str(part) for part in path)
