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
    """Each sentence's labels together: -log p(labels | words), p over all legal sequences.

    log p is the score of the labels less that of all legal sequences: the sum over words of the
    head's log probability, and the scores of transitions, start and end. Illegal sequences have
    no part in it, in training as in decoding (Wei et al. 2021). At scores of 0, and where
    everything is legal, it is the softmax's cross-entropy.

    The scores can take over from the head what they share with it, how frequent each label is
    above all, and their sum would be as good. Programs that know no CRF read the head alone: a
    share of the loss is the head's own cross-entropy, so that it is a good classifier, too.

    Attributes:
      rules: what is legal.
      borders: where sentences begin and end in the training corpus, see `data.chains`.
      width: most words of a row, see `data.chains.most_words`.
      head_share: of the loss that is the head's cross-entropy.
    """

    rules: Rules
    borders: np.ndarray
    width: int
    head_share: float = 0.0

    def widths(self, length: int) -> dict[str, int]:
        """Labels, one per token; places and links, one per word."""
        return {"labels": length, "places": self.width, "links": self.width}

    def arrays(self, rows: Rows) -> dict[str, np.ndarray]:
        """What the loss reads of packed rows: labels (B, L), places and links (B, W)."""
        places_BW, links_BW = word_chains(rows, self.borders, self.width)
        return {"labels": rows.labels, "places": places_BW, "links": links_BW}

    @jax.named_scope("loss")
    def batch_loss(
        self, params: Mapping[str, Any], logits_BLC: jax.Array, batch: Mapping[str, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        """Sum of -log p over the chains, a share of it the head's; and the number of words."""
        places_BW, links_BW = batch["places"], batch["links"]
        labels_BL = batch["labels"]
        there_BW = places_BW < labels_BL.shape[1]
        # Log probabilities instead of logits: the loss is the same, and less of it is lost where
        # sums of large numbers are subtracted.
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
        """The scores with NEVER added to what is illegal."""
        masks = (self.rules.follows, self.rules.starts, self.rules.ends)
        return Scores(
            *(
                jnp.asarray(score, jnp.float32) + jnp.where(mask, 0.0, NEVER)
                for score, mask in zip(scores, masks, strict=True)
            )
        )

    def predict(self, logits_BLC: jax.Array) -> jax.Array:
        """The logits: sequences are decoded for whole sentences, on the host."""
        return logits_BLC.astype(jnp.float32)


def _at(x_BL: jax.Array, places_BW: jax.Array) -> jax.Array:
    """x at each row's places; 0 where a place is beyond the row.

    No place occurs twice, so that the gradient is written and not added up, in no order of chance.
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
    """Sum of -log p(labels) over all chains.

    A row's chains are summed over as one: where a chain begins the word has no transition, and
    the sum over all sequences of the row is the product of the chains' sums.

    Args:
      scores: transitions, starts, ends.
      scores_BWC: of each word's labels.
      labels_BW: of the words.
      links_BW: CONTINUES, STARTS, ENDS of each word, see `data.chains`.
      there_BW: whether there is a word; words come before what is none.
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
