"""Batches: a function of (seed, step), each sentence once per epoch, equal on all machines."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxner.data.batches import TrainBatches
from flaxner.data.chains import most_words
from flaxner.devices.processes import Part
from tests.tiny import random_segments


def batches(lengths=(5, 9, 7, 12, 4, 6, 8, 10, 11, 3, 5), **changes):
    segments = random_segments(np.random.default_rng(0), list(lengths))
    settings = {"batch_size": 3, "row_length": 16, "epochs": 2, "seed": 0, **changes}
    return TrainBatches(segments, **settings)


def words(rows):
    return sorted(rows.words[rows.words >= 0].tolist())


def test_every_word_is_seen_once_per_epoch():
    made = batches()
    assert made.steps_per_epoch == 4
    assert made.num_steps == 8
    for epoch in (0, 1):
        seen = [w for s in range(4) for w in words(made.at(epoch * 4 + s))]
        assert sorted(seen) == list(range(made.segments.num_words))
    assert any(words(made.at(s)) != words(made.at(s + 4)) for s in range(4))


def test_a_batch_is_a_function_of_seed_and_step():
    once, again, other = batches(), batches(), batches(seed=1)
    for step in (7, 0, 3, 3):  # in any order
        for a, b in zip(once.at(step), again.at(step), strict=True):
            np.testing.assert_array_equal(a, b)
    assert any(words(once.at(s)) != words(other.at(s)) for s in range(8))


@given(
    lengths=st.lists(st.integers(3, 16), min_size=1, max_size=40),
    batch_size=st.integers(1, 9),
    parts=st.sampled_from([1, 2, 4]),
)
def test_the_parts_add_up_to_the_batch(lengths, batch_size, parts):
    whole = batches(lengths, batch_size=batch_size, epochs=1)
    split = batches(lengths, batch_size=batch_size, epochs=1, multiple=4)
    assert whole.num_steps == -(-len(lengths) // batch_size)
    for step in range(whole.num_steps):
        pieces = [split.at(step, Part(i, parts)) for i in range(parts)]
        joined = [np.concatenate(arrays) for arrays in zip(*pieces, strict=True)]
        reference = whole.at(step)
        for a, b in zip(joined, reference, strict=True):
            np.testing.assert_array_equal(a[: len(b)], b)
        assert (joined[1][len(reference.segment_ids) :] == 0).all()
        assert len(joined[0]) % 4 == 0
        assert int((reference.segment_ids > 0).sum()) == whole.tokens_at(step)


@given(
    lengths=st.lists(st.integers(2, 16), max_size=40),
    batch_size=st.integers(1, 50),
    seed=st.integers(0, 9),
    row_length=st.sampled_from([16, 37, 64]),
)
def test_no_row_of_any_plan_exceeds_the_bound_on_words(lengths, batch_size, seed, row_length):
    segments = random_segments(np.random.default_rng(seed), lengths)
    most = most_words(segments, row_length)
    assert 0 < most <= row_length
    assert most % 8 == 0 or most == row_length
    for level in (False, True) if lengths else ():
        made = TrainBatches(segments, batch_size, row_length, 2, seed, level=level)
        for step in range(made.num_steps):
            assert (made.at(step).words >= 0).sum(1).max() <= most


def test_the_bound_on_words_is_that_of_the_best_row():
    """Sentences of 10 tokens with 8, 5 or 2 words; 25 tokens hold two of 8 and half of one of 5."""
    words = [8] * 2 + [5] * 9 + [2] * 9
    lengths = np.full(20, 10)
    segments = random_segments(np.random.default_rng(0), lengths)
    labelled = np.arange(10) < np.asarray(words)[:, None]
    segments.words[:] = np.where(labelled.ravel(), np.cumsum(labelled) - 1, -1)
    assert most_words(segments, 25) == 24  # 18 at best
    assert most_words(segments, 24) == 24
    assert most_words(segments, 20) == 16
    assert most_words(segments, 35) == 24  # 23 at best
    assert most_words(segments, 9) == 8  # no segment fits


def test_shapes_are_at_most_three():
    lengths = np.random.default_rng(0).integers(3, 16, 500)
    made = batches(lengths, batch_size=8, epochs=3, multiple=2)
    seen = {made.at(step).input_ids.shape for step in range(made.num_steps)}
    assert len(seen) <= 3
    assert {rows for rows, _ in seen} <= set(made.shapes)
    assert 0.5 < made.fill() <= 1.0


def test_fill_is_the_fraction_of_real_tokens():
    made = batches(epochs=1)
    arrays = [made.at(step).segment_ids for step in range(made.num_steps)]
    real, slots = sum((a > 0).sum() for a in arrays), sum(a.size for a in arrays)
    assert made.fill() == pytest.approx(real / slots)


def test_fractional_epochs():
    assert batches(epochs=0.5).num_steps == 2
    assert batches(epochs=0.1).num_steps == 1


def test_the_fingerprint_depends_on_corpus_and_plan():
    prints = {
        batches().fingerprint(),
        batches(seed=1).fingerprint(),
        batches(batch_size=2).fingerprint(),
        batches(lengths=(5, 9, 7, 12, 4, 6, 8, 10, 11, 3, 6)).fingerprint(),
    }
    assert len(prints) == 4
    assert batches().fingerprint() == batches(multiple=8).fingerprint()
