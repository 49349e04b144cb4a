"""Judged sentences -> scores by type, length and whether a name was seen, with intervals.

Entities are counted as seqeval counts them. Of every group precision, recall and F1 are those of
the entities that belong to it, annotated and found ones being divided by the same rule. Intervals
are bootstrapped over sentences (Efron 1979): the percentiles 2.5 and 97.5 of DRAWS resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flaxner.data.tags import Span
from flaxner.evaluation.metrics import f1
from flaxner.reporting.judged import Judged, Surfaces

DRAWS, AT_ONCE = 1000, 50
SEED = 0
LENGTHS = (1, 2, 3)
SENTENCES = (10, 20, 40)
Group = Callable[[Judged, Span], str]


def grouped_scores(
    sentences: Sequence[Judged], known: Surfaces | None
) -> dict[str, list[dict[str, Any]]]:
    """The scores of every group, and of all entities.

    Args:
      sentences: of a split.
      known: the names in the training corpus; None: it is not there to be asked.

    Returns:
      title -> rows of name, precision, recall, f1, low and high of F1, annotated, found; groups
      without an entity are left out.
    """
    titles: dict[str, Group] = {"all": lambda s, e: "all", "type": lambda s, e: e.type}
    if known is not None:
        titles["seen in training"] = lambda s, e: "seen" if s.surface(e) in known else "not seen"
    titles["words of the entity"] = lambda s, e: _class(e.end - e.start, LENGTHS)
    titles["words of the sentence"] = lambda s, e: _class(len(s.words), SENTENCES)
    tallies = {title: _tally(sentences, group) for title, group in titles.items()}
    counts_NM = np.concatenate(
        [counts.reshape(len(counts), counts.size // max(1, len(counts)))
         for _, counts in tallies.values()],
        axis=1,
    )  # fmt: skip
    totals_BM = _resampled(counts_NM)
    made, place = {}, 0
    for title, (names, counts_NK3) in tallies.items():
        end = place + 3 * len(names)
        sums_K3 = counts_NK3.sum(axis=0)
        drawn_BK = f1(totals_BM[:, place:end].reshape(DRAWS, len(names), 3))
        low, high = np.percentile(drawn_BK, (2.5, 97.5), axis=0)
        made[title] = [_row(*row) for row in zip(names, sums_K3, low, high, strict=True)]
        place = end
    return made


def _class(size: int, bounds: Sequence[int]) -> str:
    """The name of the class of lengths that a length belongs to."""
    below = 0
    for bound in bounds:
        if size <= bound:
            return str(bound) if bound == below + 1 else f"{below + 1} to {bound}"
        below = bound
    return f"over {below}"


def _tally(sentences: Sequence[Judged], group: Group) -> tuple[list[str], np.ndarray]:
    """The groups' names, and of each sentence and group: right, found, annotated (N, K, 3)."""
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
    """Classes of lengths by their numbers, "seen" before "not seen", all else by name."""
    first = name.split(" ")[0]
    if first.isdecimal():
        return 0, int(first), ""
    return (1 if name.startswith("over ") else 0), 0, {"seen": "", "not seen": " "}.get(name, name)


def _resampled(counts_NM: np.ndarray) -> np.ndarray:
    """The sums of DRAWS resamples of the sentences (B, M)."""
    size = len(counts_NM)
    rng = np.random.default_rng(SEED)
    parts = []
    for _ in range(0, DRAWS, AT_ONCE):
        drawn = rng.integers(0, size, (AT_ONCE, size))
        weights_BN = np.stack([np.bincount(row, minlength=size) for row in drawn])
        parts.append(weights_BN.astype(np.float32) @ counts_NM)
    return np.concatenate(parts)


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
