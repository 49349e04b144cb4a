"""Packing: every segment once, none too long, and results equal to those without packing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxner.data.batches import evaluation_batches
from flaxner.data.corpus import Sentence
from flaxner.data.labels import LabelScheme
from flaxner.data.packing import choose_row_counts, fill_rows, plan_rows
from flaxner.data.segments import align
from flaxner.models.network import Model
from flaxner.training.loss import Softmax
from tests.compare import assert_close, scaled_close
from tests.families import each_network
from tests.tiny import random_segments, tiny_config
from tests.wordpiece import tiny_tokenizer

LENGTHS = st.lists(st.integers(3, 40), max_size=60)


@given(lengths=LENGTHS, row_length=st.integers(40, 90))
def test_plan_holds_every_segment_once(lengths, row_length):
    rows = plan_rows(np.asarray(lengths, int), row_length)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert all(0 < sum(lengths[i] for i in row) <= row_length for row in rows)
    # Best fit never leaves two rows that would fit into one.
    sums = sorted(sum(lengths[i] for i in row) for row in rows)
    assert len(sums) < 2 or sums[0] + sums[1] > row_length


def test_plan_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="a segment of 50 tokens does not fit a row of 49"):
        plan_rows(np.asarray([3, 50]), 49)


@given(lengths=LENGTHS, row_length=st.integers(40, 90), seed=st.integers(0, 99))
def test_filled_rows_hold_every_token(lengths, row_length, seed):
    segments = random_segments(np.random.default_rng(seed), lengths)
    rows = plan_rows(segments.lengths, row_length)
    arrays = fill_rows(segments, rows, row_length, len(rows) + 2)
    for b, row in enumerate(rows):
        for number, index in enumerate(row, 1):
            here = arrays.segment_ids[b] == number
            span = slice(segments.starts[index], segments.starts[index + 1])
            np.testing.assert_array_equal(arrays.input_ids[b, here], segments.input_ids[span])
            np.testing.assert_array_equal(arrays.labels[b, here], segments.labels[span])
            np.testing.assert_array_equal(arrays.words[b, here], segments.words[span])
            np.testing.assert_array_equal(arrays.position_ids[b, here], np.arange(here.sum()))
    assert int((arrays.segment_ids > 0).sum()) == sum(lengths)
    assert (arrays.labels[arrays.segment_ids == 0] == -100).all()


@given(lengths=st.lists(st.integers(3, 40), min_size=1, max_size=60), rows=st.integers(1, 5))
def test_evaluation_batches_hold_every_word_once(lengths, rows):
    segments = random_segments(np.random.default_rng(0), lengths)
    seen = [b.words[b.words >= 0] for b in evaluation_batches(segments, 40, rows)]
    assert sorted(np.concatenate(seen).tolist()) == list(range(segments.num_words))


@given(st.lists(st.integers(1, 12), min_size=1, max_size=50), st.sampled_from([1, 100]))
def test_chosen_row_counts_are_the_best(needed, times):
    needed = np.asarray(needed * times)
    chosen = choose_row_counts(needed)
    most = int(needed.max())

    def cost(counts):
        once = needed[: len(needed) // times].tolist()
        return times * sum(min(c for c in counts if c >= n) for n in once)

    two = min(cost((a, most)) for a in range(1, most + 1))
    three = min(cost((a, b, most)) for a in range(1, most + 1) for b in range(1, a + 1))
    assert chosen[-1] == most
    assert list(chosen) == sorted(set(chosen))
    worth_it = two - three >= max(200, 0.03 * two)
    assert cost(chosen) == (three if worth_it else two)
    assert len(chosen) <= (3 if worth_it else 2)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _loss_and_gradient(model, blocks, params, input_ids, segment_ids, position_ids, labels):
    def loss(params):
        logits = model.apply(params, input_ids, segment_ids, position_ids, blocks=blocks)
        total, count = Softmax().loss(logits, labels)
        return total / jnp.maximum(count, 1), logits

    return jax.value_and_grad(loss, has_aux=True)(params)


def loss_and_gradient(model, params, rows, blocks=None):
    inputs = (rows.input_ids, rows.segment_ids, rows.position_ids, rows.labels)
    (value, logits), gradient = _loss_and_gradient(model, blocks, params, *inputs)
    return value, np.asarray(logits), {k: np.asarray(v) for k, v in gradient.items()}


def by_word(rows, logits):
    owned = rows.words >= 0
    return logits[owned][np.argsort(rows.words[owned])]


@each_network
@settings(max_examples=8, deadline=None)
@given(
    lengths=st.lists(st.integers(3, 20), min_size=1, max_size=9),
    row_length=st.sampled_from([31, 48]),
    seed=st.integers(0, 1000),
)
def test_packed_equals_unpacked(family, lengths, row_length, seed):
    """Logits, loss and every gradient, in float32 without dropout."""
    segments = random_segments(np.random.default_rng(seed), lengths)
    model = family.model(initializer_range=0.2)
    params = model.init(seed)
    # The same number of rows in every example: one compilation per row length.
    packed = fill_rows(segments, plan_rows(segments.lengths, row_length), row_length, 9)
    single = fill_rows(segments, [[i] for i in range(len(segments))], 31, 9)
    loss_a, logits_a, gradient_a = loss_and_gradient(model, params, packed)
    loss_b, logits_b, gradient_b = loss_and_gradient(model, params, single)
    assert_close("packing", by_word(packed, logits_a), by_word(single, logits_b))
    assert_close("packing", loss_a, loss_b)
    scaled_close("packing", gradient_a, gradient_b)


@settings(max_examples=3, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=3),
    max_length=st.integers(8, 16),
    seed=st.integers(0, 1000),
)
def test_packed_windows_equal_unpacked_windows(sizes, max_length, seed):
    """Long sentences in overlapping windows: every word once, and the same numbers when packed."""
    rng = np.random.default_rng(seed)
    words = ["Angela", "Merkel", "beat", "Chelsea's", "zzz", "2-1"]
    corpus = [Sentence(tuple(rng.choice(words, size)), ("O",) * size) for size in sizes]
    tokenizer = tiny_tokenizer()
    segments = align(corpus, tokenizer, LabelScheme.from_types(["PER"]), max_length)
    model = Model(tiny_config(vocab_size=len(tokenizer), num_labels=3, initializer_range=0.2))
    params = model.init(seed)
    # The same number of rows in every example: a single compilation.
    packed = fill_rows(segments, plan_rows(segments.lengths, 24), 24, 48)
    single = fill_rows(segments, [[i] for i in range(len(segments))], 24, 48)
    assert sorted(packed.words[packed.words >= 0].tolist()) == list(range(sum(sizes)))
    loss_a, logits_a, gradient_a = loss_and_gradient(model, params, packed)
    loss_b, logits_b, gradient_b = loss_and_gradient(model, params, single)
    assert_close("packing", by_word(packed, logits_a), by_word(single, logits_b))
    assert_close("packing", loss_a, loss_b)
    scaled_close("packing", gradient_a, gradient_b)


@each_network
def test_no_gradient_between_segments(family):
    """A segment's logits do not depend on any other segment: the gradient is exactly zero."""
    rng = np.random.default_rng(0)
    segments = random_segments(rng, [7, 9, 5])
    model = family.model(initializer_range=0.2)
    network = model.bind(model.init(0))
    rows = fill_rows(segments, [[0, 1, 2]], 24)
    context = network.context(jnp.asarray(rows.segment_ids), jnp.asarray(rows.position_ids))

    def logit_sum(x_BLD, number):
        for layer in network.layers:
            x_BLD = layer(x_BLD, (context,), None)
        logits_BLC = network.head(network.finish(x_BLD), None)
        return jnp.sum(logits_BLC[0, rows.segment_ids[0] == number, 0])

    x_BLD = jax.random.normal(jax.random.key(1), (1, 24, model.config.hidden_size))
    for number in (1, 2, 3):
        gradient = np.asarray(jax.grad(logit_sum)(x_BLD, number))[0]
        own = rows.segment_ids[0] == number
        assert np.abs(gradient[own]).min() > 0
        assert (gradient[~own] == 0).all()


@each_network
def test_empty_rows_give_no_nan(family):
    segments = random_segments(np.random.default_rng(0), [5])
    model = family.model(initializer_range=0.2)
    rows = fill_rows(segments, [[0]], 31, 9)  # the shape that an earlier test compiled
    loss, logits, gradient = loss_and_gradient(model, model.init(0), rows)
    assert np.isfinite(loss)
    assert np.isfinite(logits).all()
    assert all(np.isfinite(g).all() for g in gradient.values())
