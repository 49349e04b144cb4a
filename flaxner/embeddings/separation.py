"""Numbers on vectors: cosines, a plane to draw them on, how far they tell types apart."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from flaxner.embeddings.occurrences import Occurrence

FOLDS = 5


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1; zero vectors stay."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def cosines(vectors: np.ndarray) -> np.ndarray:
    """Cosine of every two rows."""
    directions = unit(vectors)
    return directions @ directions.T


def plane(vectors: np.ndarray) -> np.ndarray:
    """The two principal components (Pearson 1901), signs fixed so that pictures repeat."""
    centred = vectors - vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2]
    if len(axes) < 2:
        axes = np.concatenate([axes, np.zeros((2 - len(axes), vectors.shape[1]))])
    strongest = axes[np.arange(2), np.abs(axes).argmax(axis=1)]
    return centred @ (axes * np.where(strongest < 0, -1, 1)[:, None]).T


def silhouette(vectors: np.ndarray, kinds: Sequence[str]) -> float:
    """Mean silhouette of the types under cosine distance (Rousseeuw 1987), -1 to 1.

    Equal vectors have distance 0 to all and score 0; so does a type with one member.
    """
    distances = np.clip(1.0 - cosines(vectors.astype(np.float64)), 0.0, None)
    distances[distances < 1e-6] = 0.0  # rounding of equal vectors
    np.fill_diagonal(distances, 0.0)  # of zero vectors, which words without a vector have
    names, of = np.unique(np.asarray(kinds), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"a silhouette needs two types or more: got {names.tolist()}")
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
    """How well vectors tell the types of ambiguous forms.

    Attributes:
      silhouette: mean over forms.
      accuracy: share of held-out occurrences given the right type by the nearest centroid.
      majority: the same when always the form's most frequent type is said.
      forms: form -> its own silhouette, accuracy, majority and number of occurrences.
      occurrences: in all forms.
    """

    silhouette: float
    accuracy: float
    majority: float
    forms: dict[str, dict[str, float]]
    occurrences: int


def separation(
    vectors: np.ndarray, places: Mapping[str, Sequence[Occurrence]], seed: int = 0
) -> Separation:
    """Silhouette and nearest-centroid accuracy of every form.

    Each occurrence is held out once: centroids of a form's types come from the other folds.
    Where all centroids are equally near, as they are for static vectors, the form's most frequent
    type is said: the best that can be done without a look at the sentence.

    Args:
      vectors: by `Occurrence.row`.
      places: form -> occurrences, of two types or more.
      seed: of the folds.
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
    if not total:
        raise ValueError("the corpus has no form with two types, each often enough to compare")
    mean = float(np.mean([values["silhouette"] for values in forms.values()]))
    return Separation(mean, right / total, common / total, forms, total)


def _held_out(vectors: np.ndarray, kinds: Sequence[str], seed: int) -> tuple[int, int]:
    """Right answers of the nearest centroid, and of the most frequent type, over the folds."""
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
    """The occurrences of other forms that are nearest to one occurrence, each form once."""
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
