"""What all token classifiers share: the call, the loop over layers, the head.

A family gives embeddings, layers and what its layers need besides the hidden states; this class
runs them, one after the other or as one scan, with or without recomputation, under the names by
which profilers and preflight know them (`jax.named_scope`; `flaxner/aot/parts.py` lists them).

Shapes: B rows, L positions, D features, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from flaxner.data.packing import Blocks
from flaxner.models.layers.attention import Within, divided
from flaxner.models.layers.blocks import Initializer, linear
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.config import EncoderConfig
from flaxner.models.layers.dropout import dropout

Array = jax.Array


class TokenClassifier(nnx.Module):
    """An encoder with a linear classifier on every position; the base of each family's network.

    A subclass's constructor takes (config, *, rngs, compute=None) and sets `embeddings`, a module
    of what `embed` takes, and `layers`, an `nnx.List` of modules (x_BLD, contexts, key) -> x_BLD.

    Attributes:
      config: the family's settings.
      compute: dtype and layout of the computation.
      embeddings: give the first x_BLD; a family that has others overrides `embed`.
      layers: the blocks.
      classifier: the head's last linear layer, in float32.
      head_rate: dropout before it.
    """

    embeddings: Any
    layers: Any

    def __init__(
        self,
        config: EncoderConfig,
        compute: Compute | None,
        *,
        width: int,
        head_rate: float,
        scale: float | Initializer,
        rngs: nnx.Rngs,
    ) -> None:
        self.config, self.compute = config, compute or Compute()
        self.classifier = linear(width, config.num_labels, scale, Compute(), rngs)
        self.head_rate = head_rate

    def embed(
        self,
        input_ids_BL: Array,
        position_ids_BL: Array,
        token_type_ids_BL: Array,
        key: Array | None,
    ) -> Array:
        """Embedded tokens x_BLD."""
        return self.embeddings(input_ids_BL, position_ids_BL, token_type_ids_BL, key)

    def context(self, segment_ids_BL: Array, position_ids_BL: Array) -> Any:
        """What every layer needs besides x_BLD, computed once: what attention is kept within.

        Where rows are divided, a layer is given that of each part, see `attention.divided`.
        """
        return Within.of(segment_ids_BL)

    def finish(self, x_BLD: Array) -> Array:
        """The last hidden states, given the last layer's output."""
        return x_BLD

    def head(self, x_BLD: Array, key: Array | None) -> Array:
        """logits_BLC, float32."""
        x_BLD = dropout(x_BLD, self.head_rate, key)
        return self.classifier(x_BLD.astype(jnp.float32))

    def __call__(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        *,
        position_ids: Array | None = None,
        token_type_ids: Array | None = None,
        dropout_key: Array | None = None,
        blocks: Blocks | None = None,
    ) -> Array:
        """Logits of every position, float32; arguments as `transformers` names them.

        Args:
          input_ids: token ids, (B, L), int.
          attention_mask: ones, and zeros for padding; or 1, 2, ... for the segments packed into
            a row, of which an ordinary mask is the case of one. None: all ones.
          position_ids: rows of the position table; counted from the start of the row if None.
          token_type_ids: BERT's A/B ids; zeros if None.
          dropout_key: a PRNG key turns dropout on.
          blocks: how rows are divided; no segment crosses a block.

        Returns:
          logits_BLC.
        """
        x_BLD = self.encode(
            input_ids,
            attention_mask,
            position_ids=position_ids,
            token_type_ids=token_type_ids,
            dropout_key=dropout_key,
            blocks=blocks,
        )[-1]
        key = None if dropout_key is None else jax.random.fold_in(dropout_key, 1)
        with jax.named_scope("head"):
            return self.head(x_BLD, key)

    def encode(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        *,
        position_ids: Array | None = None,
        token_type_ids: Array | None = None,
        dropout_key: Array | None = None,
        blocks: Blocks | None = None,
        all_layers: bool = False,
    ) -> list[Array]:
        """Hidden states: the last layer's, or the embeddings' and every layer's.

        Arguments as for the call; returns a list of x_BLD, the last layer last.
        """
        input_ids = jnp.asarray(input_ids)
        segment_ids_BL = jnp.ones_like(input_ids) if attention_mask is None else attention_mask
        if position_ids is None:
            position_ids = self.default_positions(input_ids)
        if token_type_ids is None:
            token_type_ids = jnp.zeros_like(input_ids)
        keys: Any = [None] * (len(self.layers) + 1)
        if dropout_key is not None:
            keys = jax.random.split(jax.random.fold_in(dropout_key, 0), len(self.layers) + 1)
        with jax.named_scope("attention"):
            given = (divided(jnp.asarray(x_BL), blocks) for x_BL in (segment_ids_BL, position_ids))
            context = tuple(self.context(*part) for part in zip(*given, strict=True))
        with jax.named_scope("embeddings"):
            x_BLD = self.embed(input_ids, position_ids, token_type_ids, keys[0])
        if self.compute.scan_layers and not all_layers:
            return [
                self.finish(self._scan(x_BLD, context, None if dropout_key is None else keys[1:]))
            ]
        states = [x_BLD]
        for layer, key in zip(self.layers, keys[1:], strict=True):
            states.append(self._apply(layer, states[-1], context, key))
        states[-1] = self.finish(states[-1])
        return states if all_layers else states[-1:]

    def default_positions(self, input_ids_BL: Array) -> Array:
        """Positions where the caller names none, as `transformers` counts them."""
        return jnp.broadcast_to(jnp.arange(input_ids_BL.shape[1]), input_ids_BL.shape)

    def packed_positions(self, input_ids_BL: Array, position_ids_BL: Array) -> Array:
        """Rows of the position table, of positions that count from 0 within a segment."""
        return position_ids_BL

    def _apply(self, layer: nnx.Module, x_BLD: Array, context: Any, key: Array | None) -> Array:
        graph, params = nnx.split(layer)
        return apply_layer(graph, params, x_BLD, context, key, self.compute.remat)

    @jax.named_scope("stacking")
    def _scan(self, x_BLD: Array, context: Any, keys: Array | None) -> Array:
        """The layers, the longest stretch that repeats itself as one scan."""
        split = [nnx.split(layer) for layer in self.layers]
        graphs, params = [graph for graph, _ in split], [params for _, params in split]
        first, period, times = repetition(graphs)
        last = first + period * times

        def run(x_BLD: Array, layers: range) -> Array:
            for i in layers:
                key = None if keys is None else keys[i]
                x_BLD = apply_layer(graphs[i], params[i], x_BLD, context, key, self.compute.remat)
            return x_BLD

        def body(x_BLD: Array, item: tuple[Any, Array | None]) -> tuple[Array, None]:
            group, group_keys = item
            for j in range(period):
                key = None if group_keys is None else group_keys[j]
                graph = graphs[first + j]
                x_BLD = apply_layer(graph, group[j], x_BLD, context, key, self.compute.remat)
            return x_BLD, None

        groups = [params[i : i + period] for i in range(first, last, period)]
        stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *groups)
        inner = None if keys is None else keys[first:last].reshape(times, period)
        x_BLD = run(x_BLD, range(first))
        x_BLD = jax.lax.scan(body, x_BLD, (stacked, inner))[0]
        return run(x_BLD, range(last, len(graphs)))


def repetition(kinds: Sequence[Any]) -> tuple[int, int, int]:
    """The stretch of a sequence that repeats itself: its begin, its period, how many times.

    The one that covers most items; of equal ones that of the shortest period, then the earliest.
    """
    count, best = len(kinds), (0, 1, 1)
    for period in range(1, count // 2 + 1):
        for first in range(count - 2 * period + 1):
            end = first + period
            while end < count and kinds[end] == kinds[end - period]:
                end += 1
            times = (end - first) // period
            if times > 1 and times * period > best[1] * best[2]:
                best = (first, period, times)
    return best


@jax.named_scope("feed_forward")  # and what else of a layer has no name of its own
def apply_layer(
    graph: Any, params: Any, x_BLD: Array, context: Any, key: Array | None, remat: bool
) -> Array:
    """One layer, its activations recomputed in the backward pass if `remat`."""

    def apply(params: Any, x_BLD: Array, context: Any, key: Array | None) -> Array:
        return nnx.merge(graph, params)(x_BLD, context, key)

    return (jax.checkpoint(apply) if remat else apply)(params, x_BLD, context, key)
