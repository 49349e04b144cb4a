"""Decodes sentences with a CRF: their most likely legal labels and the probability of each."""

from __future__ import annotations

import numpy as np

from flaxner.data.tag_rules import Rules
from flaxner.inference import viterbi
from flaxner.models.crf import Scores


def read(
    log_probs_WC: np.ndarray, borders: np.ndarray, rules: Rules, scores: Scores
) -> tuple[np.ndarray, np.ndarray]:
    """Return the most likely legal label sequence of each sentence, and each label's probability.

    Args:
      log_probs_WC: log probabilities from the head, for every word of all sentences.
      borders: start of each sentence, and the end of the last.
      rules: which sequences are legal.
      scores: the scores of the CRF.

    Returns:
      labels (W,), int64, and their marginal probabilities (W,), float32: the total probability of
      the legal sequences that have this label at this word.
    """
    labels = viterbi.decode(log_probs_WC, borders, rules, scores)
    probs = np.ones(len(labels), np.float32)
    legal = viterbi.masked(rules, scores)
    chosen = np.flatnonzero(np.diff(borders))
    for place_SN in viterbi.same_lengths(borders, chosen, log_probs_WC.shape[1]):
        marginals_SNC = _marginals(log_probs_WC[place_SN].astype(np.float64), legal)
        taken = np.take_along_axis(marginals_SNC, labels[place_SN][..., None], axis=-1)
        probs[place_SN] = taken[..., 0]
    return labels, probs


def _marginals(own_SNC: np.ndarray, legal: Scores) -> np.ndarray:
    """Compute the probability of every label of every word (forward-backward algorithm)."""
    _, N, _ = own_SNC.shape
    forward_SNC, backward_SNC = np.empty_like(own_SNC), np.empty_like(own_SNC)
    forward_SNC[:, 0], backward_SNC[:, -1] = own_SNC[:, 0] + legal.starts, legal.ends
    for n in range(1, N):
        moves_SCC = forward_SNC[:, n - 1, :, None] + legal.transitions
        forward_SNC[:, n] = _log_sum(moves_SCC, 1) + own_SNC[:, n]
    for n in range(N - 2, -1, -1):
        after_SC = backward_SNC[:, n + 1] + own_SNC[:, n + 1]
        backward_SNC[:, n] = _log_sum(legal.transitions + after_SC[:, None, :], 2)
    joint_SNC = forward_SNC + backward_SNC
    return np.exp(joint_SNC - _log_sum(joint_SNC, 2)[..., None])


def _log_sum(x: np.ndarray, axis: int) -> np.ndarray:
    """Compute log(sum(exp(x))), where some of x may be minus infinity."""
    top = x.max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(x - top).sum(axis=axis)) + top.squeeze(axis)
