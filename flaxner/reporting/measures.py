"""Judged sentences -> scores by type, length and whether a name was seen, with intervals.

Entities are counted as seqeval counts them. Precision, recall and F1 of a group are computed on
the entities that belong to it; annotated and found entities are grouped by the same rule. The
intervals are bootstrapped over sentences (Efron 1979): percentiles 2.5 and 97.5 of DRAWS resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flaxner.data.tags import Span
from flaxner.evaluation.metrics import f1
from flaxner.evaluation.resampling import bootstrap, drawn_sums
from flaxner.reporting.judged import Judged, Surfaces

DRAWS, CONFIDENCE, SEED = 1000, 0.95, 0
LENGTHS = (1, 2, 3)
SENTENCES = (10, 20, 40)
Group = Callable[[Judged, Span], str]


def grouped_scores(
    sentences: Sequence[Judged], known: Surfaces | None
) -> dict[str, list[dict[str, Any]]]:
    """Return the scores of every group, and of all entities.

    Args:
      sentences: sentences of a split.
      known: names in the training corpus; None if it is not available.

    Returns:
      title -> rows with name, precision, recall, f1, low and high (the interval of F1), annotated,
      found; groups without entities are left out.
    """
    titles: dict[str, Group] = {"all": lambda s, e: "all", "type": lambda s, e: e.type}
    if known is not None:
        titles["seen in training"] = lambda s, e: "seen" if s.surface(e) in known else "not seen"
    titles["words of the entity"] = lambda s, e: _class(e.end - e.start, LENGTHS)
    titles["words of the sentence"] = lambda s, e: _class(len(s.words), SENTENCES)
    tallies = {title: _tally(sentences, group) for title, group in titles.items()}
    counts_NK3 = np.concatenate([counts for _, counts in tallies.values()], axis=1)
    low_K, high_K = _intervals(counts_NK3)
    sums_K3 = counts_NK3.sum(axis=0)
    rows = map(
        _row, (name for names, _ in tallies.values() for name in names), sums_K3, low_K, high_K
    )
    return {title: [next(rows) for _ in names] for title, (names, _) in tallies.items()}


def _class(size: int, bounds: Sequence[int]) -> str:
    """Return the name of the length class that a length belongs to."""
    below = 0
    for bound in bounds:
        if size <= bound:
            return str(bound) if bound == below + 1 else f"{below + 1} to {bound}"
        below = bound
    return f"over {below}"


def _tally(sentences: Sequence[Judged], group: Group) -> tuple[list[str], np.ndarray]:
    """Return group names, and counts by sentence and group: right, found, annotated (N, K, 3)."""
    cells: list[tuple[int, str, int]] = []
    for i, sentence in enumerate(sentences):
        gold = set(sentence.gold)
        for span in sentence.found:
            name = group(sentence, span)
            cells.append((i, name, 1))
            if span in gold:
                cells.append((i, name, 0))
        cells += [(i, group(sentence, span), 2) for span in sentence.gold]
    names = sorted({name for _, name, _ in cells}, key=_natural)
    numbers = {name: k for k, name in enumerate(names)}
    counts = np.zeros((len(sentences), len(names), 3), np.float32)
    for i, name, column in cells:
        counts[i, numbers[name], column] += 1
    return names, counts


def _natural(name: str) -> tuple[int, int, str]:
    """Sort key: length classes by number, "seen" before "not seen", all others by name."""
    first = name.split(" ")[0]
    if first.isdecimal():
        return 0, int(first), ""
    return (1 if name.startswith("over ") else 0), 0, {"seen": "", "not seen": " "}.get(name, name)


def _intervals(counts_NK3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lower and upper ends of the intervals of the groups' F1, each (K,)."""
    size, groups, _ = counts_NK3.shape
    counts_NM = counts_NK3.reshape(size, 3 * groups)

    def scores_KB(rows_BN: np.ndarray) -> np.ndarray:
        return f1(drawn_sums(counts_NM, rows_BN).reshape(len(rows_BN), groups, 3)).T

    return bootstrap(scores_KB, size, DRAWS, CONFIDENCE, SEED)


def _row(name: str, sums: np.ndarray, low: float, high: float) -> dict[str, Any]:
    right, found, gold = (int(value) for value in sums)
    return {
        "name": name,
        "precision": right / found if found else 0.0,
        "recall": right / gold if gold else 0.0,
        "f1": 2 * right / (found + gold),
        "low": float(low),
        "high": float(high),
        "annotated": gold,
        "found": found,
    }
