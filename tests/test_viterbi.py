"""Constrained Viterbi against trying all sequences."""

import itertools

import numpy as np

from flaxner import viterbi
from flaxner.labels import LabelScheme

TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


def brute_force(scores_NC):
    scheme = LabelScheme(TAGS)

    def legal(path):
        pairs = itertools.pairwise(path)
        follows = all(scheme.legal_transitions[a, b] for a, b in pairs)
        return scheme.legal_starts[path[0]] and follows

    paths = itertools.product(range(len(TAGS)), repeat=len(scores_NC))
    return max(
        filter(legal, paths),
        key=lambda path: sum(s[c] for s, c in zip(scores_NC, path, strict=True)),
    )


def test_the_best_legal_path_is_found():
    rng = np.random.default_rng(0)
    lengths = [1, 4, 3, 0, 5, 4, 2, 4]
    borders = np.concatenate([[0], np.cumsum(lengths)])
    scores = np.log(rng.dirichlet(np.ones(len(TAGS)) / 2, borders[-1]))
    labels = viterbi.decode(scores, borders, TAGS)
    for low, high in itertools.pairwise(borders.tolist()):
        if high > low:
            assert tuple(labels[low:high]) == brute_force(scores[low:high])
    assert (labels != scores.argmax(axis=-1)).any()


def test_tables_that_are_no_iob2_have_no_rules():
    for tags in (("O", "I-PER", "I-LOC"), ("LABEL_0", "LABEL_1"), ("O", "B-PER", "I-PER", "I-LOC")):
        starts, follows = viterbi.legality(tags)
        assert starts.all()
        assert follows.all()


def test_bioes_entities_end_before_another_begins():
    tags = ("O", *(f"{p}-{t}" for t in ("LOC", "PER") for p in "BIES"))
    starts, follows = viterbi.legality(tags)
    legal = {(a, b) for a, x in enumerate(tags) for b, y in enumerate(tags) if follows[a, b]}
    named = {(tags[a], tags[b]) for a, b in legal}
    assert {tag for tag, ok in zip(tags, starts, strict=True) if ok} == {
        *("O", "B-LOC", "S-LOC", "B-PER", "S-PER")
    }
    assert ("B-LOC", "E-LOC") in named
    assert ("E-LOC", "B-PER") in named
    for wrong in (("B-LOC", "O"), ("B-LOC", "I-PER"), ("S-LOC", "E-LOC"), ("O", "I-LOC")):
        assert wrong not in named
