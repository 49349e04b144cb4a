"""The likeliest tag sequence among the legal ones (Viterbi 1967), for many sentences at once."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from flaxner.labels import LabelScheme

BLOCK = 1 << 22  # numbers a block of sentences may take: bounds memory


@functools.cache
def legality(tags: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Which label may come first (C,), and which may follow which (C, C), bool.

    In IOB2 an I- follows a B- or I- of its type; in BIOES and BILOU an entity, once begun, ends
    before another begins. A table without a B- tag for each I- tag is neither (IO, or names such
    as LABEL_0): there everything is legal.
    """
    count = len(tags)
    inner = {tag[2:] for tag in tags if tag.startswith("I-")}
    begin = {tag[2:] for tag in tags if tag.startswith("B-")}
    if not inner <= begin:
        return np.ones(count, bool), np.ones((count, count), bool)
    if not any(tag[:2] in ("E-", "L-") for tag in tags):
        scheme = LabelScheme(tags)
        return scheme.legal_starts, scheme.legal_transitions
    open_after = np.asarray([tag[:2] in ("B-", "I-") for tag in tags])
    goes_on = np.asarray([tag[:2] in ("I-", "E-", "L-") for tag in tags])
    same = np.asarray([[a[2:] == b[2:] for b in tags] for a in tags])
    inside = open_after[:, None] & goes_on[None, :] & same
    return ~goes_on, inside | (~open_after[:, None] & ~goes_on[None, :])


def decode(log_probs_WC: np.ndarray, borders: np.ndarray, tags: Sequence[str]) -> np.ndarray:
    """The legal label sequence of the greatest summed log probability, for each sentence.

    Args:
      log_probs_WC: log probabilities of the labels of every word of all sentences.
      borders: where each sentence begins, and the end of the last.
      tags: label -> tag.

    Returns:
      labels (W,), int64.
    """
    starts, follows = legality(tuple(tags))
    labels = log_probs_WC.argmax(axis=-1)
    lengths = np.diff(borders)
    broken = _illegal(labels, borders, starts, follows)
    # Where the likeliest labels of all words are a legal sequence, they are the answer.
    todo = np.flatnonzero(broken)
    todo = todo[np.argsort(lengths[todo], kind="stable")]
    while len(todo):
        size = int(lengths[todo].max())
        take = max(1, BLOCK // (size * len(tags) ** 2 + 1))
        block, todo = todo[:take], todo[take:]
        for sentences in np.split(block, np.flatnonzero(np.diff(lengths[block])) + 1):
            place_SN = borders[sentences][:, None] + np.arange(lengths[sentences[0]])
            labels[place_SN] = _best_paths(log_probs_WC[place_SN], starts, follows)
    return labels


def _illegal(
    labels: np.ndarray, borders: np.ndarray, starts: np.ndarray, follows: np.ndarray
) -> np.ndarray:
    """Whether the labels of a sentence break a rule, bool, one a sentence."""
    wrong = np.zeros(len(labels), np.int64)
    wrong[1:] = ~follows[labels[:-1], labels[1:]]
    first = borders[:-1][np.diff(borders) > 0]
    wrong[first] = ~starts[labels[first]]
    total = np.concatenate([[0], np.cumsum(wrong)])
    return total[borders[1:]] > total[borders[:-1]]


def _best_paths(scores_SNC: np.ndarray, starts: np.ndarray, follows: np.ndarray) -> np.ndarray:
    """Best legal paths of S sentences of N words, labels (S, N)."""
    S, N, C = scores_SNC.shape
    scores_SNC = scores_SNC.astype(np.float64)
    cost_CC = np.where(follows, 0.0, -np.inf)
    best_SC = scores_SNC[:, 0] + np.where(starts, 0.0, -np.inf)
    back_NSC = np.zeros((N, S, C), np.int32)
    for n in range(1, N):
        paths_SCC = best_SC[:, :, None] + cost_CC
        back_NSC[n] = paths_SCC.argmax(axis=1)
        best_SC = paths_SCC.max(axis=1) + scores_SNC[:, n]
    labels_SN = np.zeros((S, N), np.int64)
    labels_SN[:, -1] = best_SC.argmax(axis=-1)
    for n in range(N - 1, 0, -1):
        labels_SN[:, n - 1] = back_NSC[n][np.arange(S), labels_SN[:, n]]
    return labels_SN
