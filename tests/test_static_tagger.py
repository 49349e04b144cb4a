"""Taggers over a fixed word table: the table stays fixed, and windows end with their segment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from flaxner.config.train import TrainConfig
from flaxner.data.corpus import Corpus, Sentence
from flaxner.devices.mesh import make_mesh, place_batch
from flaxner.embeddings.heads import Trial, scaled, train_head
from flaxner.models.vectors import FIRST, TABLE, StaticConfig, StaticModel, neighbours
from flaxner.training import program
from flaxner.training.loss import Softmax
from flaxner.training.optimizer import make_optimizer
from flaxner.training.preparation import label_scheme, resolve
from flaxner.training.rates import rates_by
from flaxner.training.step import init_state, make_steps
from tests.compare import assert_close


def static_model(window, dropout=0.0):
    model = StaticModel(StaticConfig(20, 8, 3, window=window, hidden=16, dropout=dropout))
    table = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    return model, model.init(1, table)


def test_declared_shapes_equal_those_of_the_parameters():
    model, params = static_model(2)
    assert {k: v.shape for k, v in model.shapes.items()} == {k: v.shape for k, v in params.items()}


def test_a_frozen_table_stays_fixed_while_the_head_learns():
    model, params = static_model(1, dropout=0.1)
    rates = rates_by("linear", 20, 0.1, 1e-2)
    optimizer, mesh = make_optimizer(), make_mesh()
    steps = make_steps(model, Softmax(), optimizer, rates, mesh, seed=0)
    state = init_state(params, optimizer, mesh, model.frozen)
    assert not any(leaf.shape == (20, 8) for leaf in jax.tree.leaves(state.opt_state))
    ids = np.random.default_rng(1).integers(1, 20, (8, 12)).astype(np.int32)
    arrays = {
        "input_ids": ids,
        "segment_ids": np.ones_like(ids),
        "position_ids": np.broadcast_to(np.arange(12, dtype=np.int32), ids.shape),
        "labels": ids % 3,
    }
    losses = []
    for _ in range(20):
        state, metrics = steps.train(state, place_batch(arrays, mesh))
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.8 * losses[0]
    assert_close("exact", np.asarray(state.params[TABLE]), params[TABLE])
    for path in set(params) - {TABLE}:
        assert np.any(np.asarray(state.params[path]) != np.asarray(params[path])), path


def test_packed_windows_equal_unpacked_ones():
    model, params = static_model(2)
    first, second = np.array([[2, 3, 4, 5]]), np.array([[6, 7, 8]])
    packed = np.concatenate([first, second, [[0]]], axis=1)
    segments = np.array([[1, 1, 1, 1, 2, 2, 2, 0]])
    whole = model.apply(params, packed, segments, segments)
    alone = [model.apply(params, ids, np.ones_like(ids), ids) for ids in (first, second)]
    assert_close("packing", np.asarray(whole[:, :7]), np.concatenate(alone, axis=1))


def test_neighbours_are_in_order():
    x = jnp.arange(1.0, 5.0).reshape(1, 4, 1)
    got = neighbours(x, jnp.array([[1, 1, 1, 2]]), 1)
    assert got.tolist() == [[[0, 1, 2], [1, 2, 3], [2, 3, 0], [0, 4, 0]]]


def test_the_unknown_word_has_its_own_vector():
    model, params = static_model(0)
    ids = np.array([[1, 2]])
    moved = {**params, "unknown": params["unknown"] + 1.0}
    before, after = (np.asarray(model.apply(p, ids, ids, ids)) for p in (params, moved))
    assert np.any(before[0, 0] != after[0, 0])
    assert_close("exact", before[0, 1], after[0, 1])


def test_scalings_are_measured_on_the_training_words():
    rng = np.random.default_rng(3)
    table = rng.normal(2.0, 3.0, size=(50, 4)).astype(np.float32)
    table[:FIRST] = 0.0
    used = rng.integers(1, 30, 400)  # rows 30 and up occur only in other splits; row 1 is unknown
    words = used[used >= FIRST]
    standard = scaled(table, used, "standard")
    np.testing.assert_allclose(standard[words].mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(standard[words].std(axis=0), 1.0, atol=1e-5)
    length = scaled(table, used, "length")
    assert np.mean(np.square(length[words])) == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(length[9] / length[8], table[9] / table[8], rtol=1e-5)
    for made in (standard, length):
        assert_close("exact", made[:FIRST], table[:FIRST])


WORDS = [Sentence(("a", "b", "c"), ("B-PER", "O", "B-LOC"))] * 12
CORPORA = {s: Corpus(WORDS, s, "IOB2", 0) for s in ("train", "validation", "test")}


def head_of(folder, grid, **others):
    table = np.concatenate([np.zeros((FIRST, 3)), np.eye(3)]).astype(np.float32)
    return train_head(
        resolve(TrainConfig(dataset="flaxner:embedded", output_dir=str(folder))),
        {**CORPORA, **others}, label_scheme(CORPORA, {}), table,
        lambda split, sentences: np.tile([2, 3, 4], len(sentences)).astype(np.int32),
        window=0, folder=folder / "heads", console=Console(quiet=True), grid=grid,
    )  # fmt: skip


def test_the_grid_is_judged_on_validation_alone(tmp_path):
    """Trials that cannot learn lose, and the test split's tags do not influence the choice."""
    wrong = [Sentence(("a", "b", "c"), ("O", "B-LOC", "B-PER"))] * 12
    grid = [Trial(0.0, "length"), Trial(0.3, "standard"), Trial(0.3, "length")]
    first = head_of(tmp_path, grid)
    assert [trial["chosen"] for trial in first.trials] == [False, True, False]  # first of equals
    assert first.trials[0]["validation_f1"] < first.validation_f1 == 1.0
    assert first.tags == [list(s.tags) for s in WORDS]
    other = head_of(tmp_path, grid, test=Corpus(wrong, "test", "IOB2", 0))
    assert other.trials == first.trials


def test_a_head_learns_from_rows_in_blocks(tmp_path, monkeypatch):
    """As on a single CPU device, see `program.blocks_of`."""
    divided = []

    def blocks_of(config, batches):
        divided.append(batches.layout.blocks)
        return divided[-1]

    monkeypatch.setattr(program, "blocks_of", blocks_of)
    assert head_of(tmp_path, [Trial(0.3, "standard")]).validation_f1 == 1.0
    assert divided
    assert None not in divided
