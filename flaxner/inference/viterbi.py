"""The likeliest tag sequence among the legal ones (Viterbi 1967), for many sentences at once."""

from __future__ import annotations

import numpy as np

from flaxner.data.tag_rules import Rules

BLOCK = 1 << 22  # numbers a block of sentences may take: bounds memory


def decode(log_probs_WC: np.ndarray, borders: np.ndarray, rules: Rules) -> np.ndarray:
    """The legal label sequence of the greatest summed log probability, for each sentence.

    Args:
      log_probs_WC: log probabilities of the labels of every word of all sentences.
      borders: where each sentence begins, and the end of the last.
      rules: what is legal.

    Returns:
      labels (W,), int64.
    """
    labels = log_probs_WC.argmax(axis=-1)
    lengths = np.diff(borders)
    broken = _illegal(labels, borders, rules)
    # Where the likeliest labels of all words are a legal sequence, they are the answer.
    todo = np.flatnonzero(broken)
    todo = todo[np.argsort(lengths[todo], kind="stable")]
    while len(todo):
        size = int(lengths[todo].max())
        take = max(1, BLOCK // (size * log_probs_WC.shape[1] ** 2 + 1))
        block, todo = todo[:take], todo[take:]
        for sentences in np.split(block, np.flatnonzero(np.diff(lengths[block])) + 1):
            place_SN = borders[sentences][:, None] + np.arange(lengths[sentences[0]])
            labels[place_SN] = _best_paths(log_probs_WC[place_SN], rules)
    return labels


def _illegal(labels: np.ndarray, borders: np.ndarray, rules: Rules) -> np.ndarray:
    """Whether the labels of a sentence break a rule, bool, one a sentence."""
    wrong = np.zeros(len(labels), np.int64)
    wrong[1:] = ~rules.follows[labels[:-1], labels[1:]]
    some = np.diff(borders) > 0
    first, last = borders[:-1][some], borders[1:][some] - 1
    wrong[first] = ~rules.starts[labels[first]]
    wrong[last] += ~rules.ends[labels[last]]
    total = np.concatenate([[0], np.cumsum(wrong)])
    return total[borders[1:]] > total[borders[:-1]]


def _best_paths(scores_SNC: np.ndarray, rules: Rules) -> np.ndarray:
    """Best legal paths of S sentences of N words, labels (S, N)."""
    S, N, C = scores_SNC.shape
    scores_SNC = scores_SNC.astype(np.float64)
    cost_CC = np.where(rules.follows, 0.0, -np.inf)
    best_SC = scores_SNC[:, 0] + np.where(rules.starts, 0.0, -np.inf)
    back_NSC = np.zeros((N, S, C), np.int32)
    for n in range(1, N):
        paths_SCC = best_SC[:, :, None] + cost_CC
        back_NSC[n] = paths_SCC.argmax(axis=1)
        best_SC = paths_SCC.max(axis=1) + scores_SNC[:, n]
    labels_SN = np.zeros((S, N), np.int64)
    labels_SN[:, -1] = (best_SC + np.where(rules.ends, 0.0, -np.inf)).argmax(axis=-1)
    for n in range(N - 1, 0, -1):
        labels_SN[:, n - 1] = back_NSC[n][np.arange(S), labels_SN[:, n]]
    return labels_SN
