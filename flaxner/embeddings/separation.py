"""Measures of vectors: cosines, a plane to draw them in, how well they separate types."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from flaxner.embeddings.occurrences import Occurrence

FOLDS = 5


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors to length 1; zero vectors stay."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def cosines(vectors: np.ndarray) -> np.ndarray:
    """Compute the cosine of every pair of rows."""
    directions = unit(vectors)
    return directions @ directions.T


def plane(vectors: np.ndarray) -> np.ndarray:
    """Project on the first two principal components (Pearson 1901), with reproducible signs."""
    centred = vectors - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2]
    if len(axes) < 2:
        axes = np.concatenate([axes, np.zeros((2 - len(axes), vectors.shape[1]))])
    strongest = axes[np.arange(2), np.abs(axes).argmax(axis=1)]
    return centred @ (axes * np.where(strongest < 0, -1, 1)[:, None]).T


def silhouette(vectors: np.ndarray, kinds: Sequence[str]) -> float:
    """Compute the mean silhouette of types under cosine distance (Rousseeuw 1987), -1 to 1.

    If all vectors are equal, all distances and scores are 0; a type with one member scores 0 too.
    """
    distances = np.clip(1.0 - cosines(vectors.astype(np.float64)), 0.0, None)
    distances[distances < 1e-6] = 0.0  # rounding errors of equal vectors
    np.fill_diagonal(distances, 0.0)  # for zero vectors, which words without a vector have
    names, of = np.unique(np.asarray(kinds), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"a silhouette needs at least two types: got {names.tolist()}")
    members = np.eye(len(names))[of]
    sizes = members.sum(axis=0)
    sums = distances @ members
    own = np.arange(len(of)), of
    inside = sums[own] / np.maximum(sizes[of] - 1, 1)
    means = sums / sizes
    means[own] = np.inf
    outside = means.min(axis=1)
    largest = np.maximum(inside, outside)
    scores = np.where(largest > 0, (outside - inside) / np.maximum(largest, 1e-12), 0.0)
    return float(np.where(sizes[of] > 1, scores, 0.0).mean())


@dataclasses.dataclass(frozen=True)
class Separation:
    """How well vectors separate the types of ambiguous forms.

    Attributes:
      silhouette: mean over forms.
      accuracy: fraction of held-out occurrences whose type the nearest centroid predicts.
      majority: the same if the form's most frequent type is always predicted.
      forms: form -> its own silhouette, accuracy, majority and number of occurrences.
      occurrences: number of occurrences of all forms.
    """

    silhouette: float
    accuracy: float
    majority: float
    forms: dict[str, dict[str, float]]
    occurrences: int


def separation(
    vectors: np.ndarray, places: Mapping[str, Sequence[Occurrence]], seed: int = 0
) -> Separation:
    """Compute the silhouette and nearest-centroid accuracy of every form.

    Each occurrence is held out once: centroids of a form's types come from the other folds.
    Where all centroids are equally near, as for static vectors, the form's most frequent type is
    predicted, the best guess without looking at the sentence.

    Args:
      vectors: indexed by `Occurrence.row`.
      places: form -> occurrences, of two or more types; at least one form.
      seed: seed of the folds.
    """
    forms: dict[str, dict[str, float]] = {}
    right = common = total = 0
    for form, occurrences in places.items():
        rows = np.asarray([o.row for o in occurrences])
        kinds = [o.type for o in occurrences]
        hits, usual = _held_out(unit(vectors[rows].astype(np.float64)), kinds, seed)
        forms[form] = {
            "silhouette": silhouette(vectors[rows], kinds),
            "accuracy": hits / len(kinds),
            "majority": usual / len(kinds),
            "occurrences": len(kinds),
        }
        right, common, total = right + hits, common + usual, total + len(kinds)
    mean = float(np.mean([values["silhouette"] for values in forms.values()]))
    return Separation(mean, right / total, common / total, forms, total)


def _held_out(vectors: np.ndarray, kinds: Sequence[str], seed: int) -> tuple[int, int]:
    """Count correct answers of the nearest centroid, and of the most frequent type, over folds."""
    labels = np.asarray(kinds)
    counts = Counter(kinds)
    names = np.asarray(sorted(counts, key=lambda name: (-counts[name], name)))
    order = np.random.default_rng(seed).permutation(len(labels))
    fold = np.empty(len(labels), np.int64)
    for name in names:  # every fold has its share of every type
        of = order[labels[order] == name]
        fold[of] = np.arange(len(of)) % FOLDS
    hits = 0
    for number in range(FOLDS):
        held, kept = fold == number, fold != number
        centroids = unit(np.stack([vectors[kept & (labels == n)].mean(axis=0) for n in names]))
        near = np.round(vectors[held] @ centroids.T, 6)  # a tie goes to the most frequent type
        hits += int((names[near.argmax(axis=1)] == labels[held]).sum())
    return hits, counts[str(names[0])]


def nearest_occurrences(
    vectors: np.ndarray,
    query: Occurrence,
    candidates: Sequence[Occurrence],
    count: int = 5,
) -> list[tuple[Occurrence, float]]:
    """Find the nearest occurrences of other forms to one occurrence, each form once."""
    rows = np.asarray([o.row for o in candidates])
    near = unit(vectors[rows]) @ unit(vectors[query.row])
    nearest: dict[str, tuple[Occurrence, float]] = {}
    for index in np.argsort(-near, kind="stable").tolist():
        other = candidates[index]
        same = other.form.lower() == query.form.lower() or other.sentence == query.sentence
        if not same and other.form.lower() not in nearest:
            nearest[other.form.lower()] = (other, float(near[index]))
        if len(nearest) == count:
            break
    return list(nearest.values())
