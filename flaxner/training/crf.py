"""The loss of a linear-chain CRF over the words of packed rows (Lample et al. 2016)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flaxner.data.chains import CONTINUES, ENDS, STARTS, word_chains
from flaxner.data.packing import Rows
from flaxner.data.tag_rules import Rules
from flaxner.models.crf import Scores
from flaxner.training.partition import NEVER, log_partition


@dataclasses.dataclass(frozen=True)
class Crf:
    """All labels of a sentence jointly: -log p(labels | words), with p over all legal sequences.

    log p is the score of the labels minus the log-sum-exp of the scores of all legal sequences. A
    score is the sum of the head's log probabilities over words and of the transition, start and end
    scores. Illegal sequences are excluded, in training as in decoding (Wei et al. 2021). If all
    transition, start and end scores are 0 and everything is legal, the loss equals the softmax
    cross-entropy.

    The scores can take over part of what the head would learn, above all how frequent each label
    is, without changing their sum. Since programs without CRF support use the head alone, a
    fraction of the loss is the head's own cross-entropy, so that the head is a good classifier too.

    Attributes:
      rules: which sequences are legal.
      borders: where sentences begin and end in the training corpus, see `data.chains`.
      width: maximum number of words in a row, see `data.chains.most_words`.
      head_share: fraction of the loss that is the head's cross-entropy.
    """

    rules: Rules
    borders: np.ndarray
    width: int
    head_share: float = 0.0

    def widths(self, length: int) -> dict[str, int]:
        """Labels, one per token; places and links, one per word."""
        return {"labels": length, "places": self.width, "links": self.width}

    def arrays(self, rows: Rows) -> dict[str, np.ndarray]:
        """Return what the loss reads from packed rows: labels (B, L), places and links (B, W)."""
        places_BW, links_BW = word_chains(rows, self.borders, self.width)
        return {"labels": rows.labels, "places": places_BW, "links": links_BW}

    @jax.named_scope("loss")
    def batch_loss(
        self, params: Mapping[str, Any], logits_BLC: jax.Array, batch: Mapping[str, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        """Return the sum of -log p over the chains, mixed with the head's, and the word count."""
        places_BW, links_BW = batch["places"], batch["links"]
        labels_BL = batch["labels"]
        there_BW = places_BW < labels_BL.shape[1]
        # Log probabilities instead of logits: the loss is the same, but less precision is lost when
        # large sums are subtracted.
        scores_BWC = jax.nn.log_softmax(_at(logits_BLC.astype(jnp.float32), places_BW))
        gold_BW = _at(labels_BL, places_BW)
        total = negative_log_likelihood(
            self.legal(Scores.of(params)),
            scores_BWC,
            gold_BW,
            jnp.where(there_BW, links_BW, 0),
            there_BW,
        )
        if self.head_share:
            chosen_BWC = jax.nn.one_hot(gold_BW, scores_BWC.shape[-1], dtype=jnp.float32)
            own = -jnp.sum(scores_BWC * chosen_BWC, where=there_BW[..., None])
            total = (1.0 - self.head_share) * total + self.head_share * own
        return total, jnp.sum(there_BW)

    def legal(self, scores: Scores) -> Scores:
        """Return the scores with NEVER added to illegal ones."""
        masks = (self.rules.follows, self.rules.starts, self.rules.ends)
        return Scores(
            *(
                jnp.asarray(score, jnp.float32) + jnp.where(mask, 0.0, NEVER)
                for score, mask in zip(scores, masks, strict=True)
            )
        )

    def predict(self, logits_BLC: jax.Array) -> jax.Array:
        """Return the logits; sequences are decoded on the host, for whole sentences."""
        return logits_BLC.astype(jnp.float32)


def _at(x_BL: jax.Array, places_BW: jax.Array) -> jax.Array:
    """Return x at each row's places; 0 where a place is beyond the row.

    No place occurs twice, so the gradient is written rather than added up, and is deterministic.
    """

    def row(x: jax.Array, places: jax.Array) -> jax.Array:
        return x.at[places].get(
            mode="fill", fill_value=0, unique_indices=True, indices_are_sorted=True
        )

    return jax.vmap(row)(x_BL, places_BW)


def negative_log_likelihood(
    scores: Scores,
    scores_BWC: jax.Array,
    labels_BW: jax.Array,
    links_BW: jax.Array,
    there_BW: jax.Array,
) -> jax.Array:
    """Return the sum of -log p(labels) over all chains.

    The chains of a row are treated as one: the first word of a chain has no transition, so the sum
    over all sequences of the row is the product of the chains' sums.

    Args:
      scores: transitions, starts, ends.
      scores_BWC: scores of each word's labels.
      labels_BW: labels of the words.
      links_BW: CONTINUES, STARTS, ENDS of each word, see `data.chains`.
      there_BW: whether there is a word; words come before padding.
    """
    C = scores_BWC.shape[-1]
    starts_BW1 = (links_BW & STARTS > 0)[..., None]
    ends_BW1 = (links_BW & ENDS > 0)[..., None]
    own_BWC = (
        scores_BWC
        + jnp.where(starts_BW1, scores.starts, 0.0)
        + jnp.where(ends_BW1, scores.ends, 0.0)
    )
    continues_BW = links_BW & CONTINUES > 0
    chosen_BWC = jax.nn.one_hot(labels_BW, C, dtype=jnp.float32)
    moves_BWC = jnp.einsum(
        "bwi,ij->bwj", chosen_BWC[:, :-1], scores.transitions, precision="highest"
    )
    gold_BW = jnp.sum(own_BWC * chosen_BWC, axis=-1)
    gold_BW = gold_BW.at[:, 1:].add(
        jnp.where(continues_BW[:, 1:], jnp.sum(moves_BWC * chosen_BWC[:, 1:], axis=-1), 0.0)
    )
    log_z_B = log_partition(scores.transitions, own_BWC, continues_BW, there_BW)
    return jnp.sum(log_z_B) - jnp.sum(gold_BW, where=there_BW)
