"""Code shared by all token classifiers: the call, the loop over layers, the head.

A family provides embeddings, layers and what its layers need besides the hidden states; this class
runs them one by one or as one scan, with or without rematerialisation, under the names that
profilers and preflight show (`jax.named_scope`; listed in `flaxner/aot/parts.py`).

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
    with the arguments of `embed`, and `layers`, an `nnx.List` of modules
    (x_BLD, contexts, key) -> x_BLD.

    Attributes:
      config: the family's settings.
      compute: dtype and layout of the computation.
      embeddings: compute the first x_BLD; a family that needs more overrides `embed`.
      layers: the blocks.
      classifier: the head's last linear layer, in float32.
      head_rate: dropout rate before it.
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
        """Embed tokens as x_BLD."""
        return self.embeddings(input_ids_BL, position_ids_BL, token_type_ids_BL, key)

    def context(self, segment_ids_BL: Array, position_ids_BL: Array) -> Any:
        """Compute once what every layer needs besides x_BLD: what keeps attention within segments.

        If rows are divided into blocks, layers get one context per part, see `attention.divided`.
        """
        return Within.of(segment_ids_BL)

    def finish(self, x_BLD: Array) -> Array:
        """Turn the last layer's output into the final hidden states."""
        return x_BLD

    def head(self, x_BLD: Array, key: Array | None) -> Array:
        """Compute logits_BLC, float32."""
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
        """Compute the logits of every position, float32; arguments are named as in `transformers`.

        Those of another shape than `input_ids` are broadcast to it. A token or position that its
        table does not have makes the row's logits NaN.

        Args:
          input_ids: token ids, (B, L), int.
          attention_mask: 1, 2, ... for the segments packed into a row and 0 for padding; an
            ordinary mask is the case of a single segment. None: all ones.
          position_ids: rows of the position table (default: counted from the start of the row).
          token_type_ids: BERT's A/B ids (default: zeros).
          dropout_key: a PRNG key turns dropout on.
          blocks: how rows are divided into blocks; no segment crosses a block.

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
        """Compute the hidden states of the last layer, or of the embeddings and every layer.

        Takes the same arguments as the call; returns a list of x_BLD, the last layer last.
        """
        input_ids = jnp.asarray(input_ids)
        segment_ids_BL = jnp.ones_like(input_ids) if attention_mask is None else attention_mask
        if position_ids is None:
            counted_BL = jnp.broadcast_to(jnp.arange(input_ids.shape[1]), input_ids.shape)
            position_ids = self.packed_positions(input_ids, counted_BL)
        if token_type_ids is None:
            token_type_ids = jnp.zeros_like(input_ids)
        segment_ids_BL, position_ids, token_type_ids = (
            jnp.broadcast_to(jnp.asarray(x_BL), input_ids.shape)
            for x_BL in (segment_ids_BL, position_ids, token_type_ids)
        )
        keys: Any = [None] * (len(self.layers) + 1)
        if dropout_key is not None:
            keys = jax.random.split(jax.random.fold_in(dropout_key, 0), len(self.layers) + 1)
        with jax.named_scope("attention"):
            given = (divided(x_BL, blocks) for x_BL in (segment_ids_BL, position_ids))
            context = tuple(self.context(*part) for part in zip(*given, strict=True))
        with jax.named_scope("embeddings"):
            x_BLD = self.embed(input_ids, position_ids, token_type_ids, keys[0])
        if self.compute.scan_layers and not all_layers:
            return [
                self.finish(self._scan(x_BLD, context, None if dropout_key is None else keys[1:]))
            ]
        states = [x_BLD]
        for layer, key in zip(self.layers, keys[1:], strict=True):
            own = nnx.split(layer)
            states.append(apply_layer(*own, states[-1], context, key, self.compute.remat))
        states[-1] = self.finish(states[-1])
        return states if all_layers else states[-1:]

    def packed_positions(self, input_ids_BL: Array, position_ids_BL: Array) -> Array:
        """Convert positions that count from 0 within a segment to rows of the position table."""
        return position_ids_BL

    @jax.named_scope("stacking")
    def _scan(self, x_BLD: Array, context: Any, keys: Array | None) -> Array:
        """Run the layers, with the longest repeating stretch as one scan."""
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
    """Find the repeating stretch of a sequence: its start, its period and the number of repeats.

    Prefers the stretch that covers most items, then the shortest period, then the earliest start.
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


@jax.named_scope("feed_forward")  # and everything else in a layer without a scope of its own
def apply_layer(
    graph: Any, params: Any, x_BLD: Array, context: Any, key: Array | None, remat: bool
) -> Array:
    """Apply one layer; `remat` recomputes its activations in the backward pass."""

    def apply(params: Any, x_BLD: Array, context: Any, key: Array | None) -> Array:
        return nnx.merge(graph, params)(x_BLD, context, key)

    return (jax.checkpoint(apply) if remat else apply)(params, x_BLD, context, key)
