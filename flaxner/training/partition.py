"""The CRF's log partition function over packed rows: exact, and computed in few kernels.

Shapes: B rows, W words, N pieces of a row, C labels.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

NEVER = -1e4  # score of illegal transitions: their probability is exactly 0 in float32
# Maximum number of labels for combining words in pairs. Compared with going word by word, this
# takes C times the work and keeps about four numbers per word and pair of labels: 3 MiB for a row
# of 128 words and 40 labels. On TPUs the estimated time is lower up to 17 labels (docs/recipes.md).
MOST_LABELS = 40
MOST_ON_TPUS = 17


def log_partition(
    transitions_CC: jax.Array, own_BWC: jax.Array, continues_BW: jax.Array, there_BW: jax.Array
) -> jax.Array:
    """Return the log of the sum of exp(score) over all label sequences of each row, (B,).

    CPUs go word by word. On a GPU or TPU, every word would take some fifteen kernels or steps, each
    too small to be worth launching. If there are few labels, these instead combine words in pairs,
    the pairs in pairs again, and so on. Both ways are exact and agree up to rounding.

    Args:
      transitions_CC: score of label j after label i.
      own_BWC: scores of each word's labels, including start and end.
      continues_BW: whether the word has a transition from the previous one.
      there_BW: whether there is a word; words come before padding.
    """
    by_platform = {
        name: sum_in_pairs if own_BWC.shape[-1] <= most else sum_by_words
        for name, most in (("default", MOST_LABELS), ("tpu", MOST_ON_TPUS), ("cpu", 0))
    }
    return jax.lax.platform_dependent(
        transitions_CC, own_BWC, continues_BW, there_BW, **by_platform
    )


def sum_by_words(
    transitions_CC: jax.Array, own_BWC: jax.Array, continues_BW: jax.Array, there_BW: jax.Array
) -> jax.Array:
    """Compute `log_partition` word by word, from the sums that end with each label."""
    B, _, C = own_BWC.shape
    before_BC = jnp.full((B, C), NEVER).at[:, 0].set(0.0)  # a single way to begin, with score 0

    def word(sums_BC: jax.Array, item: Any) -> tuple[jax.Array, None]:
        own_BC, continues_B, there_B = item
        moves_BCC = jnp.where(continues_B[:, None, None], transitions_CC, 0.0)
        next_BC = jax.nn.logsumexp(sums_BC[:, :, None] + moves_BCC, axis=1) + own_BC
        return jnp.where(there_B[:, None], next_BC, sums_BC), None

    words = (own_BWC.swapaxes(0, 1), continues_BW.T, there_BW.T)
    return jax.nn.logsumexp(jax.lax.scan(word, before_BC, words)[0], axis=-1)


def sum_in_pairs(
    transitions_CC: jax.Array, own_BWC: jax.Array, continues_BW: jax.Array, there_BW: jax.Array
) -> jax.Array:
    """Compute `log_partition` by combining neighbouring pieces, in log2(W) levels.

    The sums of a piece are indexed by the label before it, which has no effect if its first word
    has no transition, and by the label of its last word.
    """
    own_CWB, words_B = own_BWC.T, there_BW.sum(1)
    moves_CCWB = jnp.where(continues_BW.T, transitions_CC[:, :, None, None], 0.0)
    sums_CCNB, size = own_CWB + moves_CCWB, 1  # size: words per piece
    while (N := sums_CCNB.shape[2]) > 1:
        if N % 2:
            sums_CCNB = jnp.pad(sums_CCNB, ((0, 0), (0, 0), (0, 1), (0, 0)))
        left_CCNB, right_CCNB = sums_CCNB[:, :, 0::2], sums_CCNB[:, :, 1::2]
        begins_N = size * (2 * jnp.arange(left_CCNB.shape[2]) + 1)  # first word of the right piece
        both_NB = begins_N[:, None] < words_B
        sums_CCNB = jnp.where(both_NB, _through(left_CCNB, right_CCNB), left_CCNB)
        # Materialised once; otherwise GPUs recompute the logarithms wherever a sum is read.
        sums_CCNB, size = jax.lax.optimization_barrier(sums_CCNB), 2 * size
    log_z_B = jax.nn.logsumexp(sums_CCNB[0, :, 0], axis=0)  # a single way to begin, as above
    return jnp.where(words_B > 0, log_z_B, 0.0)


@jax.custom_vjp
def _through(left_CCNB: jax.Array, right_CCNB: jax.Array) -> jax.Array:
    """Return the log of the sum over labels k of exp(left_ik + right_kj)."""
    return _through_forward(left_CCNB, right_CCNB)[0]


def _through_forward(left_CCNB: jax.Array, right_CCNB: jax.Array) -> tuple[jax.Array, Any]:
    scores_CCCNB = left_CCNB[:, :, None] + right_CCNB
    most_CCNB = scores_CCCNB.max(1)
    parts_CCNB = jnp.exp(scores_CCCNB - most_CCNB[:, None]).sum(1)
    kept = (left_CCNB, right_CCNB, most_CCNB, 1.0 / parts_CCNB)
    return most_CCNB + jnp.log(parts_CCNB), kept


def _through_backward(kept: Any, gradient_CCNB: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Distribute the gradient over the labels k by their shares.

    The shares are recomputed, because they take C times the memory of what is kept. They add up to
    1 however large the scores are, as the maximum is subtracted first.
    """
    left_CCNB, right_CCNB, most_CCNB, inverse_CCNB = kept
    scores_CCCNB = left_CCNB[:, :, None] + right_CCNB
    ways_CCCNB = jnp.exp(scores_CCCNB - most_CCNB[:, None])
    shares_CCCNB = ways_CCCNB * (gradient_CCNB * inverse_CCNB)[:, None]
    return shares_CCCNB.sum(2), shares_CCCNB.sum(0)


_through.defvjp(_through_forward, _through_backward)
