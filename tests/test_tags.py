"""Schemes: round trips over all of them, detection, and conlleval's repairs."""

import collections

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxner.data.labels import LabelScheme
from flaxner.data.tags import detect_scheme, spans_to_tags, tag_pairs, tags_to_spans, to_iob2

EXACT = ("IOB1", "IOB2", "BIOES", "BILOU")  # IO cannot separate adjacent entities of one type


@st.composite
def spans(draw):
    """Half-open spans with a type, in order, adjacent or not, and the sentence's length."""
    at, made = 0, []
    for gap, size, kind in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4), st.sampled_from(["PER", "X-Y"])))
    ):
        made.append((at + gap, at + gap + size, kind))
        at += gap + size
    return made, at + draw(st.integers(0, 2))


def check_round_trip(item):
    made, length = item
    for scheme in EXACT:
        tags = spans_to_tags(made, length, scheme)
        assert len(tags) == length
        assert [tuple(span) for span in tags_to_spans(to_iob2(tags))] == made, scheme
    apart = [s for i, s in enumerate(made) if i == 0 or made[i - 1][1] < s[0]]
    tags = spans_to_tags(apart, length, "IO")
    assert [tuple(span) for span in tags_to_spans(to_iob2(tags))] == apart


@given(spans())
@settings(max_examples=300, deadline=None)
def test_tags_and_spans_round_trip(item):
    check_round_trip(item)


@pytest.mark.slow
@given(spans())
@settings(max_examples=10_000, deadline=None)
def test_tags_and_spans_round_trip_at_length(item):
    check_round_trip(item)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("I-PER I-PER O", "B-PER I-PER O"),  # IOB1, IO
        ("I-PER B-PER O", "B-PER B-PER O"),  # IOB1: adjacent
        ("B-PER I-LOC O", "B-PER B-LOC O"),  # a new type begins an entity
        ("O I-LOC I-PER", "O B-LOC B-PER"),
        ("S-PER B-LOC E-LOC", "B-PER B-LOC I-LOC"),
        ("U-PER B-LOC L-LOC", "B-PER B-LOC I-LOC"),
        ("E-PER E-PER", "B-PER B-PER"),
    ],
)
def test_conversion_reads_as_conlleval(tags, expected):
    assert " ".join(to_iob2(tags.split())) == expected


@pytest.mark.parametrize(
    ("tags", "scheme", "repaired"),
    [
        (["B-PER I-PER O B-LOC"], "IOB2", 0),
        (["I-PER B-PER O", "O I-LOC"], "IOB1", 0),
        (["I-PER I-PER O I-LOC"], "IO", 0),
        (["S-PER O B-LOC E-LOC"], "BIOES", 0),
        (["U-PER O B-LOC L-LOC"], "BILOU", 0),
        (["B-PER I-PER O"] * 50 + ["O I-PER O"], "IOB2", 1),
    ],
)
def test_detection(tags, scheme, repaired):
    pairs = collections.Counter(pair for line in tags for pair in tag_pairs(tuple(line.split())))
    assert detect_scheme(pairs) == (scheme, repaired)


def test_label_table():
    scheme = LabelScheme.from_types(["PER", "LOC"])
    assert scheme.tags == ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
    assert scheme.decode(scheme.encode(["B-PER", "O"])) == ["B-PER", "O"]
    table = {str(i): f"B-{i}" for i in range(11)}  # sorted as strings, 10 comes before 2
    assert LabelScheme.from_id2label(dict(sorted(table.items()))).tags == tuple(table.values())
    with pytest.raises(ValueError, match=r"the tag 'B-ORG' has no label; these do: O, B-LOC"):
        scheme.encode(["B-ORG"])
    with pytest.raises(ValueError, match="each tag must occur only once"):
        LabelScheme(("O", "O"))
    assert hash(LabelScheme(list(scheme.tags))) == hash(scheme)
    assert scheme.encode([]).dtype == np.int32
