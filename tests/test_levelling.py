"""Level batches: each sentence once per epoch, similar token counts; rows divided into blocks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxner.config.train import TrainConfig
from flaxner.data.batches import TrainBatches
from flaxner.data.layout import best_layout
from flaxner.data.levelling import levelled_order, most_in_a_batch
from flaxner.data.packing import Blocks, check_blocks, fill_rows, plan_rows
from flaxner.devices.processes import Part
from flaxner.models.encoders import ENCODERS
from flaxner.runs.folder import RunFolder
from flaxner.training.fingerprint import as_begun, refuse_another
from tests.compare import assert_close, scaled_close
from tests.families import LEADS
from tests.test_packing import by_word, loss_and_gradient
from tests.tiny import random_segments

SIZES = st.lists(st.integers(3, 60), max_size=80)
LENGTHS = [*np.random.default_rng(0).integers(3, 33, 150).tolist(), 50, 60]
BLOCKS = Blocks(length=32, whole=1)


def level(lengths=LENGTHS, **changes):
    segments = random_segments(np.random.default_rng(0), list(lengths))
    plan = {"batch_size": 12, "row_length": 64, "epochs": 2, "seed": 0, "level": True, **changes}
    return TrainBatches(segments, **plan)


@given(sizes=SIZES, batch_size=st.integers(1, 9), seed=st.integers(0, 99))
def test_an_epoch_has_each_sentence_once_and_no_batch_more_than_the_bound(sizes, batch_size, seed):
    sizes = np.asarray(sizes, int)
    order = levelled_order(sizes, batch_size, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(len(sizes)))
    counts = (sizes > 40) + (sizes > 50) * np.random.default_rng(seed).integers(0, 3, len(sizes))
    bound = most_in_a_batch(sizes, counts, batch_size)
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    assert all(counts[batch].sum() <= bound for batch in batches)


def test_batches_have_similar_token_counts_and_all_lengths():
    rng = np.random.default_rng(0)
    sizes = rng.gamma(4, 5, 3200).astype(int) + 3
    batches = sizes[levelled_order(sizes, 32, rng).reshape(-1, 32)]
    free = sizes[rng.permutation(3200).reshape(-1, 32)]
    assert np.ptp(batches.sum(1)) < 0.1 * np.ptp(free.sum(1))
    medians = np.median(batches, 1)
    assert np.ptp(medians) <= 2 < np.ptp(np.median(free, 1))
    together = {tuple(sorted(batch)) for batch in levelled_order(sizes, 32, rng).reshape(-1, 32)}
    again = {tuple(sorted(batch)) for batch in levelled_order(sizes, 32, rng).reshape(-1, 32)}
    assert not together & again


def test_level_batches_keep_the_laws():
    made, other = level(), level(seed=1)
    assert made.layout.level
    assert made.layout == other.layout  # so seeds share a compiled program
    assert made.fingerprint() != level(level=False).fingerprint()
    for epoch in (0, 1):
        steps = range(epoch * made.steps_per_epoch, (epoch + 1) * made.steps_per_epoch)
        seen = [made.members(step) for step in steps]
        assert [len(members) for members in seen] == [12] * 12 + [8]
        assert sorted(np.concatenate(seen).tolist()) == list(range(len(LENGTHS)))
    for step in (14, 0, 3, 3):  # in any order
        for a, b in zip(made.at(step), level().at(step), strict=True):
            np.testing.assert_array_equal(a, b)
    assert made.members(0).tolist() != other.members(0).tolist()
    assert made.fill() > level(level=False).fill()


def test_a_free_order_stays_where_it_needs_fewer_rows():
    """A level step has 65 tokens in two sentences: two rows. A free step often needs only one."""
    segments = random_segments(np.random.default_rng(0), [5] * 40 + [60] * 40)
    assert not best_layout(segments, 2, 64).level
    assert best_layout(segments, 4, 64).level


def test_parts_of_a_divided_batch_add_up_to_it():
    whole, split = level(), level(multiple=4)
    assert whole.layout.blocks is not None
    for step in (0, 5):
        pieces = [split.at(step, Part(i, 4)) for i in range(4)]
        joined = [np.concatenate(arrays) for arrays in zip(*pieces, strict=True)]
        for a, b in zip(joined, whole.at(step), strict=True):
            np.testing.assert_array_equal(a[: len(b)], b)


@given(lengths=st.lists(st.integers(3, 32), max_size=60), long=st.lists(st.integers(33, 64)))
def test_no_segment_crosses_a_block(lengths, long):
    segments = random_segments(np.random.default_rng(0), [*long, *lengths])
    blocks = Blocks(32, len(long))
    rows = plan_rows(segments.lengths, 64, blocks)
    assert sorted(i for row in rows for i in row) == list(range(len(segments)))
    made = fill_rows(segments, rows, 64, len(rows) + 1, blocks)
    check_blocks(made, blocks)
    assert int((made.segment_ids > 0).sum()) == segments.lengths.sum()


def test_rows_that_attention_would_cut_are_refused():
    segments = random_segments(np.random.default_rng(0), [20, 20])
    with pytest.raises(ValueError, match="crosses the boundary of a block of 32 tokens"):
        check_blocks(fill_rows(segments, [[0, 1]], 64), Blocks(32, 0))
    check_blocks(fill_rows(segments, [[0, 1]], 64), Blocks(32, 1))


DIVIDED = ("bert", "deberta-v2", "modernbert")  # the others share one's attention
each_that_divides = pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, id=name, marks=() if name in DIVIDED else pytest.mark.slow)
        for name, family in LEADS.items()
    ],
)


def divided_rows(whole):
    """Return four rows of 64 in blocks of 32, `whole` of them undivided, and the blocks."""
    blocks = Blocks(32, whole)
    segments = random_segments(np.random.default_rng(0), [*([40] * whole), 30, 20, 9, 8, 14, 31])
    return fill_rows(segments, plan_rows(segments.lengths, 64, blocks), 64, 4, blocks), blocks


@each_that_divides
@pytest.mark.parametrize("whole", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_attention_in_blocks_equals_attention_in_rows(family, whole):
    """Logits, loss and every gradient, in float32 without dropout."""
    rows, blocks = divided_rows(whole)
    model = family.model(initializer_range=0.2)
    params = model.init(0)
    loss_a, logits_a, gradient_a = loss_and_gradient(model, params, rows)
    loss_b, logits_b, gradient_b = loss_and_gradient(model, params, rows, blocks=blocks)
    assert_close("packing", by_word(rows, logits_a), by_word(rows, logits_b))
    assert_close("packing", loss_a, loss_b)
    scaled_close("packing", gradient_a, gradient_b)


@each_that_divides
@pytest.mark.parametrize("whole", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_dropout_in_blocks_equals_dropout_in_rows(family, whole):
    """A run may resume on other devices, where rows are not divided."""
    rows, blocks = divided_rows(whole)
    model = family.model(initializer_range=0.2)
    model = dataclasses.replace(model, config=model.config.with_dropout({"attention_dropout": 0.3}))
    params = model.init(0)
    given = [jnp.asarray(x) for x in (rows.input_ids, rows.segment_ids, rows.position_ids)]
    key = jax.random.key(1)
    free, cut = (model.apply(params, *given, dropout_key=key, blocks=b) for b in (None, blocks))
    assert_close("packing", by_word(rows, np.asarray(free)), by_word(rows, np.asarray(cut)))
    plain = model.apply(params, *given)
    assert np.abs(np.asarray(plain) - np.asarray(free)).max() > 1e-2


@each_that_divides
def test_extra_rows_do_not_change_dropout_in_blocks(family):
    """Seeds trained together all have as many rows as the fullest one needs."""
    if not ENCODERS[family.model_type].rows_first:
        pytest.skip("this family trains its seeds one after the other")
    segments = random_segments(np.random.default_rng(0), [40, 30, 20, 9, 8, 14, 31])
    model = family.model(initializer_range=0.2)
    params, rows = model.init(0), plan_rows(segments.lengths, 64, BLOCKS)
    few, more = (fill_rows(segments, rows, 64, n, BLOCKS) for n in (len(rows), len(rows) + 2))

    def logits(rows):
        given = (jnp.asarray(x) for x in (rows.input_ids, rows.segment_ids, rows.position_ids))
        return model.apply(params, *given, dropout_key=jax.random.key(1), blocks=BLOCKS)

    assert_close("packing", by_word(few, logits(few)), by_word(more, logits(more)))


CORPUS = {"dataset": "flaxner:embedded", "output_dir": "out"}


def begun(tmp_path, settings):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.toml").write_text(settings)
    return RunFolder(folder)


@pytest.mark.parametrize(
    ("written", "kept"),
    [("", "shuffled"), ('batches = "shuffled"', "shuffled"), ('batches = "level"', "level")],
)
def test_a_resumed_run_keeps_its_order(tmp_path, written, kept):
    """Earlier versions had no such setting and always shuffled."""
    run = begun(tmp_path, written)
    assert as_begun(TrainConfig(**CORPUS, resume=True), run).batches == kept
    assert as_begun(TrainConfig(**CORPUS, resume=True, batches="level"), run).batches == "level"
    assert as_begun(TrainConfig(**CORPUS), run).batches == "auto"
    nothing = RunFolder(tmp_path / "nothing")
    assert as_begun(TrainConfig(**CORPUS, resume=True), nothing).batches == "auto"


def test_runs_from_before_the_setting_count_as_shuffled(tmp_path):
    theirs = {"epochs": 3.0, "training batches": "a"}
    refuse_another(tmp_path, {**theirs, "batches": "shuffled"}, theirs)
    with pytest.raises(ValueError, match="batches differs: 'shuffled' before, 'level' now"):
        refuse_another(tmp_path, {**theirs, "batches": "level"}, theirs)
