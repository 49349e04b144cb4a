"""The most likely legal tag sequences (Viterbi 1967), for many sentences at once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flaxner.data.tag_rules import Rules
from flaxner.models.crf import Scores

BLOCK = 1 << 22  # maximum number of values per block of sentences, to bound memory


def decode(
    log_probs_WC: np.ndarray, borders: np.ndarray, rules: Rules, scores: Scores | None = None
) -> np.ndarray:
    """Return the legal label sequence with the highest total score, for each sentence.

    Args:
      log_probs_WC: log probabilities of the labels, for every word of all sentences.
      borders: start of each sentence, and the end of the last.
      rules: which sequences are legal.
      scores: the scores of a CRF; None: log probabilities alone.

    Returns:
      labels (W,), int64.
    """
    labels = log_probs_WC.argmax(axis=-1)
    chosen = np.flatnonzero(np.diff(borders))
    if scores is None:
        # If the most likely labels of all words form a legal sequence, they are the answer.
        chosen = np.flatnonzero(_illegal(labels, borders, rules))
    legal = masked(rules, scores)
    for place_SN in same_lengths(borders, chosen, log_probs_WC.shape[1]):
        labels[place_SN] = _best_paths(log_probs_WC[place_SN], legal)
    return labels


def masked(rules: Rules, scores: Scores | None) -> Scores:
    """Return the scores as float64, with minus infinity for whatever is illegal."""
    given = scores or (0.0, 0.0, 0.0)
    masks = (rules.follows, rules.starts, rules.ends)
    return Scores(
        *(
            np.where(mask, np.asarray(score, np.float64), -np.inf)
            for score, mask in zip(given, masks, strict=True)
        )
    )


def same_lengths(borders: np.ndarray, chosen: np.ndarray, classes: int) -> Iterator[np.ndarray]:
    """Yield the word indices of the chosen sentences in blocks (S, N): S sentences of N words."""
    lengths = np.diff(borders)
    todo = chosen[np.argsort(lengths[chosen], kind="stable")]
    while len(todo):
        longest = int(lengths[todo[-1]])
        take = max(1, BLOCK // (longest * classes**2 + 1))
        block, todo = todo[:take], todo[take:]
        for sentences in np.split(block, np.flatnonzero(np.diff(lengths[block])) + 1):
            yield borders[sentences][:, None] + np.arange(lengths[sentences[0]])


def _illegal(labels: np.ndarray, borders: np.ndarray, rules: Rules) -> np.ndarray:
    """Whether the labels of each sentence break a rule, bool (S,)."""
    wrong = np.zeros(len(labels), np.int64)
    wrong[1:] = ~rules.follows[labels[:-1], labels[1:]]
    some = np.diff(borders) > 0
    first, last = borders[:-1][some], borders[1:][some] - 1
    wrong[first] = ~rules.starts[labels[first]]
    wrong[last] += ~rules.ends[labels[last]]
    total = np.concatenate([[0], np.cumsum(wrong)])
    return total[borders[1:]] > total[borders[:-1]]


def _best_paths(scores_SNC: np.ndarray, legal: Scores) -> np.ndarray:
    """Return the best legal labels (S, N) of S sentences of N words."""
    S, N, C = scores_SNC.shape
    scores_SNC = scores_SNC.astype(np.float64)
    best_SC = scores_SNC[:, 0] + legal.starts
    back_NSC = np.zeros((N, S, C), np.int32)
    for n in range(1, N):
        paths_SCC = best_SC[:, :, None] + legal.transitions
        back_NSC[n] = paths_SCC.argmax(axis=1)
        best_SC = paths_SCC.max(axis=1) + scores_SNC[:, n]
    labels_SN = np.zeros((S, N), np.int64)
    labels_SN[:, -1] = (best_SC + legal.ends).argmax(axis=-1)
    for n in range(N - 1, 0, -1):
        labels_SN[:, n - 1] = back_NSC[n][np.arange(S), labels_SN[:, n]]
    return labels_SN
