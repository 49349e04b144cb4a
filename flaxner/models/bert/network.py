"""BERT for token classification in Flax NNX (Devlin et al. 2019, arXiv:1810.04805).

The computation follows `transformers`' PyTorch `BertForTokenClassification`, so that weights
move both ways without change. Two things are ours: attention is limited to the segment a
position belongs to, so that packed rows are exact, and dropout takes an explicit key, so that
a step is a pure function of its arguments.

Shapes: B rows, L positions, H heads, K head width, D features, F feed-forward, C classes.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from flaxner.models.bert.config import ACTIVATIONS, BertConfig, Compute
from flaxner.models.layers.dense import Dense, product
from flaxner.models.layers.dropout import dropout

Array = jax.Array


def _linear(config: BertConfig, compute: Compute, d_in: int, d_out: int, rngs: nnx.Rngs) -> Dense:
    return Dense(
        d_in,
        d_out,
        kernel_init=nnx.initializers.normal(config.initializer_range),
        dtype=jnp.dtype(compute.dtype),
        out=jnp.dtype(compute.activation_dtype),
        param_dtype=jnp.float32,
        rngs=rngs,
    )


def _norm(config: BertConfig, compute: Compute, rngs: nnx.Rngs) -> nnx.LayerNorm:
    # The two-pass variance is the one torch computes; E[x^2] - E[x]^2 cancels in float32.
    return nnx.LayerNorm(
        config.hidden_size,
        epsilon=config.layer_norm_eps,
        dtype=jnp.dtype(compute.activation_dtype),
        param_dtype=jnp.float32,
        use_fast_variance=False,
        rngs=rngs,
    )


class Embeddings(nnx.Module):
    """Word + position + token-type embeddings, layer norm, dropout."""

    def __init__(self, config: BertConfig, compute: Compute, *, rngs: nnx.Rngs) -> None:
        def table(rows: int) -> nnx.Embed:
            return nnx.Embed(
                rows,
                config.hidden_size,
                embedding_init=nnx.initializers.normal(config.initializer_range),
                dtype=jnp.float32,
                param_dtype=jnp.float32,
                rngs=rngs,
            )

        self.word_embeddings = table(config.vocab_size)
        self.position_embeddings = table(config.max_position_embeddings)
        self.token_type_embeddings = table(config.type_vocab_size)
        self.norm = _norm(config, compute, rngs)
        self.rate = config.hidden_dropout_prob

    def __call__(
        self,
        input_ids_BL: Array,
        position_ids_BL: Array,
        token_type_ids_BL: Array,
        key: Array | None,
    ) -> Array:
        """Embedded tokens x_BLD."""
        x_BLD = (
            self.word_embeddings(input_ids_BL)
            + self.position_embeddings(position_ids_BL)
            + self.token_type_embeddings(token_type_ids_BL)
        )
        return dropout(self.norm(x_BLD), self.rate, key)


class Attention(nnx.Module):
    """Multi-head self-attention within segments (Vaswani et al. 2017, eq. 1)."""

    def __init__(self, config: BertConfig, compute: Compute, *, rngs: nnx.Rngs) -> None:
        width = config.hidden_size
        self.query = _linear(config, compute, width, width, rngs)
        self.key = _linear(config, compute, width, width, rngs)
        self.value = _linear(config, compute, width, width, rngs)
        self.output = _linear(config, compute, width, width, rngs)
        self.heads = config.num_attention_heads
        self.rate = config.attention_probs_dropout_prob

    def __call__(self, x_BLD: Array, bias_B1LL: Array, key: Array | None) -> Array:
        """Mixed values x_BLD; the bias keeps attention within segments."""
        B, L, D = x_BLD.shape
        K = D // self.heads

        def split(y_BLD: Array) -> Array:
            return y_BLD.reshape(B, L, self.heads, K).transpose(0, 2, 1, 3)

        q_BHLK, v_BHLK = split(self.query(x_BLD)), split(self.value(x_BLD))
        k_BHLK = split(self._keys(x_BLD))
        # In the dtype of the activations: heads are too small for narrow operands to pay for
        # their conversion where activations are float32.
        narrow = v_BHLK.dtype
        scores_BHLL = product(q_BHLK * (K**-0.5), k_BHLK.swapaxes(-1, -2), narrow, jnp.float32)
        probs_BHLL = jax.nn.softmax(scores_BHLL + bias_B1LL, axis=-1).astype(narrow)
        probs_BHLL = dropout(probs_BHLL, self.rate, key)
        mixed_BHLK = product(probs_BHLL, v_BHLK, narrow, narrow)
        return self.output(mixed_BHLK.transpose(0, 2, 1, 3).reshape(B, L, D))

    def _keys(self, x_BLD: Array) -> Array:
        """The keys, their bias held fixed.

        A key bias adds the same number to all scores of a query, and softmax takes no notice:
        its gradient is zero, but rounding leaves noise that Adam would blow up to full steps.
        """
        assert self.key.bias is not None
        keys_BLD = product(x_BLD, self.key.kernel.get_value(), self.key.dtype, self.key.out)
        return keys_BLD + jax.lax.stop_gradient(self.key.bias.get_value()).astype(keys_BLD.dtype)


class Layer(nnx.Module):
    """One post-norm transformer block: attention and feed-forward, each x + f(x), then norm."""

    def __init__(self, config: BertConfig, compute: Compute, *, rngs: nnx.Rngs) -> None:
        self.attention = Attention(config, compute, rngs=rngs)
        self.attention_norm = _norm(config, compute, rngs)
        self.intermediate = _linear(
            config, compute, config.hidden_size, config.intermediate_size, rngs
        )
        self.output = _linear(config, compute, config.intermediate_size, config.hidden_size, rngs)
        self.output_norm = _norm(config, compute, rngs)
        self.activation = config.hidden_act
        self.rate = config.hidden_dropout_prob

    def __call__(self, x_BLD: Array, bias_B1LL: Array, key: Array | None) -> Array:
        """The block's output x_BLD."""
        keys = (None, None, None) if key is None else jax.random.split(key, 3)
        attended_BLD = self.attention(x_BLD, bias_B1LL, keys[0])
        x_BLD = self.attention_norm(x_BLD + dropout(attended_BLD, self.rate, keys[1]))
        hidden_BLF = ACTIVATIONS[self.activation](self.intermediate(x_BLD))
        return self.output_norm(x_BLD + dropout(self.output(hidden_BLF), self.rate, keys[2]))


class FlaxBertForTokenClassification(nnx.Module):
    """BERT with a linear classifier on every position.

    Args of the constructor:
      config: sizes, activation, dropout rates, number of labels.
      rngs: `nnx.Rngs(seed)` for the initial weights (normal, `initializer_range`).
      compute: dtype and layout of the computation.
    """

    def __init__(
        self, config: BertConfig, *, rngs: nnx.Rngs, compute: Compute | None = None
    ) -> None:
        compute = compute or Compute()
        self.config, self.compute = config, compute
        self.embeddings = Embeddings(config, compute, rngs=rngs)
        self.layers = nnx.List(
            [Layer(config, compute, rngs=rngs) for _ in range(config.num_hidden_layers)]
        )
        self.classifier = _linear(config, Compute(), config.hidden_size, config.num_labels, rngs)

    def __call__(
        self,
        input_ids_BL: Array,
        segment_ids_BL: Array | None = None,
        position_ids_BL: Array | None = None,
        token_type_ids_BL: Array | None = None,
        *,
        dropout_key: Array | None = None,
    ) -> Array:
        """Logits of every position, float32.

        Args:
          input_ids_BL: token ids, int.
          segment_ids_BL: 1, 2, ... for the segments packed into a row, 0 for padding; an
            ordinary attention mask of ones and zeros is the case of one segment. None: all
            positions are one segment.
          position_ids_BL: position within the segment; 0, 1, 2, ... if None.
          token_type_ids_BL: BERT's A/B ids; zeros if None.
          dropout_key: a PRNG key turns dropout on.

        Returns:
          logits_BLC.
        """
        hidden_BLD = self.encode(
            input_ids_BL,
            segment_ids_BL,
            position_ids_BL,
            token_type_ids_BL,
            dropout_key=dropout_key,
        )[-1]
        key = None if dropout_key is None else jax.random.fold_in(dropout_key, 1)
        hidden_BLD = dropout(hidden_BLD, self.config.head_dropout_prob, key)
        return self.classifier(hidden_BLD.astype(jnp.float32))

    def encode(
        self,
        input_ids_BL: Array,
        segment_ids_BL: Array | None = None,
        position_ids_BL: Array | None = None,
        token_type_ids_BL: Array | None = None,
        *,
        dropout_key: Array | None = None,
        all_layers: bool = False,
    ) -> list[Array]:
        """Hidden states: the last layer's, or the embeddings' and every layer's.

        Arguments as for the call; returns a list of x_BLD, the last layer last.
        """
        L = input_ids_BL.shape[1]
        if segment_ids_BL is None:
            segment_ids_BL = jnp.ones_like(input_ids_BL)
        if position_ids_BL is None:
            position_ids_BL = jnp.broadcast_to(jnp.arange(L), input_ids_BL.shape)
        if token_type_ids_BL is None:
            token_type_ids_BL = jnp.zeros_like(input_ids_BL)
        keys: Any = [None] * (len(self.layers) + 1)
        if dropout_key is not None:
            keys = jax.random.split(jax.random.fold_in(dropout_key, 0), len(self.layers) + 1)
        bias_B1LL = segment_bias(segment_ids_BL)
        x_BLD = self.embeddings(input_ids_BL, position_ids_BL, token_type_ids_BL, keys[0])
        if self.compute.scan_layers and not all_layers:
            return [self._scan(x_BLD, bias_B1LL, None if dropout_key is None else keys[1:])]
        states = [x_BLD]
        for layer, key in zip(self.layers, keys[1:], strict=True):
            graph, params = nnx.split(layer)
            states.append(
                _apply_layer(graph, params, states[-1], bias_B1LL, key, self.compute.remat)
            )
        return states if all_layers else states[-1:]

    def _scan(self, x_BLD: Array, bias_B1LL: Array, keys: Array | None) -> Array:
        graph, _ = nnx.split(self.layers[0])
        stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *[nnx.split(m)[1] for m in self.layers])

        def body(x_BLD: Array, item: tuple[Any, Array | None]) -> tuple[Array, None]:
            params, key = item
            return _apply_layer(graph, params, x_BLD, bias_B1LL, key, self.compute.remat), None

        return jax.lax.scan(body, x_BLD, (stacked, keys))[0]

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        num_labels: int | None = None,
        seed: int = 0,
        compute: Compute | None = None,
        revision: str | None = None,
    ) -> FlaxBertForTokenClassification:
        """Read a folder or a Hub model: safetensors, sharded safetensors or flax msgpack.

        A warning names the head weights that it lacks and that were drawn from `seed`.

        Raises:
          ValueError: not there, not supported, or weights that do not fit, all named.
        """
        from flaxner.models.pretrained import load_pretrained

        loaded = load_pretrained(
            source, num_labels=num_labels, seed=seed, compute=compute, revision=revision
        )
        if loaded.fresh:
            warnings.warn(
                f"{source} has no {', '.join(loaded.fresh)}: drawn from seed {seed}, to be trained",
                stacklevel=2,
            )
        return loaded.model.bind(loaded.params)


def _apply_layer(
    graph: Any, params: Any, x_BLD: Array, bias_B1LL: Array, key: Array | None, remat: bool
) -> Array:
    def apply(params: Any, x_BLD: Array, bias_B1LL: Array, key: Array | None) -> Array:
        return nnx.merge(graph, params)(x_BLD, bias_B1LL, key)

    return (jax.checkpoint(apply) if remat else apply)(params, x_BLD, bias_B1LL, key)


def segment_bias(segment_ids_BL: Array) -> Array:
    """Attention bias_B1LL: 0 within a segment, the least float32 elsewhere.

    Padding (segment 0) attends to padding, so no row of the softmax is fully masked.
    """
    same_B1LL = segment_ids_BL[:, None, :, None] == segment_ids_BL[:, None, None, :]
    return jnp.where(same_B1LL, 0.0, jnp.finfo(jnp.float32).min)
