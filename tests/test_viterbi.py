"""Constrained Viterbi against brute force, and the rules of every scheme by hand."""

import itertools
import re

import numpy as np
import pytest

from flaxner.data.tag_rules import ANY, CHOICES, rules, shown_scheme, table_scheme
from flaxner.data.tags import tags_to_spans
from flaxner.inference import viterbi

BI = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
BIOES = ("O", *(f"{p}-{t}" for t in ("LOC", "PER") for p in "BIES"))
BILOU = ("O", *(f"{p}-{t}" for t in ("LOC", "PER") for p in "BILU"))
TABLES = {"IO": ("O", "I-LOC", "I-PER"), "IOB1": BI, "IOB2": BI, "BIOES": BIOES, "BILOU": BILOU}
# Each scheme's definition: a pattern for the prefixes of a sequence of tags of one type.
SHAPES = {
    "IO": r"[OI]*",
    "IOB1": r"(O|I+(BI*)*)*",
    "IOB2": r"(O|BI*)*",
    "BIOES": r"(O|S|BI*E)*",
    "BILOU": r"(O|U|BI*L)*",
}


def by_definition(scheme, tags):
    """Whether tags are legal: runs of one type, each matching the pattern."""
    whole, pieces, kind = "", [], None
    for tag in tags:
        if tag[2:] != kind or tag == "O":
            pieces.append(whole)
            whole, kind = "", tag[2:]
        whole += tag[0]
    return all(re.fullmatch(SHAPES[scheme], piece) for piece in [*pieces, whole])


def is_legal(scheme, names, path):
    starts, follows, ends = rules(names, scheme)
    inner = all(follows[a, b] for a, b in itertools.pairwise(path))
    return bool(starts[path[0]] and ends[path[-1]] and inner)


@pytest.mark.parametrize("scheme", SHAPES)
def test_rules_match_the_definition_of_the_scheme(scheme):
    names = TABLES[scheme]
    legal = 0
    for length in (1, 2, 3, 4):
        for path in itertools.product(range(len(names)), repeat=length):
            tags = [names[label] for label in path]
            assert is_legal(scheme, names, path) == by_definition(scheme, tags), tags
            legal += is_legal(scheme, names, path)
    assert legal > 50


@pytest.mark.parametrize("scheme", CHOICES)
def test_the_best_legal_path_is_found(scheme):
    names = TABLES.get(scheme, BI)
    rng = np.random.default_rng(0)
    lengths = [1, 4, 3, 0, 4, 2, 4]
    borders = np.concatenate([[0], np.cumsum(lengths)])
    scores = np.log(rng.dirichlet(np.ones(len(names)) / 2, borders[-1]))
    labels = viterbi.decode(scores, borders, rules(names, scheme))
    for low, high in itertools.pairwise(borders.tolist()):
        if high == low:
            continue
        paths = itertools.product(range(len(names)), repeat=high - low)
        best = max(
            (path for path in paths if is_legal(scheme, names, path)),
            key=lambda path: scores[np.arange(low, high), path].sum(),
        )
        assert tuple(labels[low:high]) == best
    changed = (labels != scores.argmax(axis=-1)).any()
    assert changed == (scheme not in (ANY, "IO"))


def test_an_iob1_model_keeps_its_entities():
    """There, I- can begin an entity: read as IOB2 it would be lost or turned into B-."""
    sure = [0, 2, 2, 0, 4]  # O I-LOC I-LOC O I-PER
    scores = np.log(np.full((5, 5), 0.01) + 0.95 * np.eye(5)[sure])
    borders = np.asarray([0, 5])
    for scheme in ("IOB1", ANY):
        assert viterbi.decode(scores, borders, rules(BI, scheme)).tolist() == sure
    as_iob2 = viterbi.decode(scores, borders, rules(BI, "IOB2"))
    assert [BI[label] for label in as_iob2] != [BI[label] for label in sure]
    scores[3] = np.log([0.4, 0.55, 0.01, 0.02, 0.02])  # a B-LOC after an I-LOC: a new one
    found = viterbi.decode(scores, borders, rules(BI, "IOB1"))
    tags = [BI[label] for label in found]
    assert tags_to_spans(tags) == [(1, 3, "LOC"), (3, 4, "LOC"), (4, 5, "PER")]


def test_in_iob2_an_inside_tag_follows_its_own_type():
    starts, follows, ends = rules(BI, "IOB2")
    assert starts.tolist() == [not tag.startswith("I-") for tag in BI]
    for a, before in enumerate(BI):
        for b, after in enumerate(BI):
            broken = after.startswith("I-") and before[2:] != after[2:]
            assert follows[a, b] == (not broken), (before, after)
    assert ends.all()


@pytest.mark.parametrize(
    ("names", "scheme"),
    [
        (BI, None),
        (("O", "B-LOC", "I-LOC", "I-PER"), "IOB1"),  # as in CoNLL-2003, without B-PER
        (("O", "B-LOC", "B-PER", "I-PER"), "IOB2"),
        (("O", "B-LOC", "I-PER"), ANY),
        (("O", "I-LOC", "I-PER"), "IO"),
        (("O", "LOC", "PER"), ANY),
        (("LABEL_0", "LABEL_1"), ANY),
        (BIOES, "BIOES"),
        (("O", "B-LOC", "M-LOC", "E-LOC", "S-LOC", "B-PER", "E-PER"), "BIOES"),
        (("O", "S-LOC", "B-PER", "I-PER"), ANY),  # a B-PER could never end
        (("O", "I-LOC", "E-LOC"), ANY),
        (BILOU, "BILOU"),
        ((*BI, "[PAD]", "X"), None),
    ],
)
def test_label_tables_reveal_their_scheme(names, scheme):
    assert table_scheme(names) == scheme


def test_labels_that_are_not_tags_count_as_outside():
    names = (*BI, "[PAD]")
    starts, follows, ends = rules(names, "IOB2")
    assert starts[5]
    assert follows[1, 5]
    assert ends[5]
    assert not follows[5, 2]


def test_answers_reveal_their_scheme():
    iob2 = [["B-PER", "I-PER", "O", "B-LOC"]] * 10
    iob1 = [["I-PER", "I-PER", "B-PER", "O", "I-LOC"]] * 10
    assert shown_scheme(iob2) == "IOB2"
    assert shown_scheme(iob1) == "IOB1"
    assert shown_scheme([*iob2, ["O", "I-LOC"]]) == "IOB2"  # a single slip does not count
    assert shown_scheme([*iob2, *iob1]) == ANY
    assert shown_scheme(iob2[:4]) == ANY  # too few
    assert shown_scheme([["O"], []]) == ANY
