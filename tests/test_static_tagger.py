"""Taggers over a fixed table: the table stands still, windows end with their segment."""

import jax
import jax.numpy as jnp
import numpy as np

from flaxner.decoders import Softmax
from flaxner.models.static import TABLE, StaticConfig, StaticModel, neighbours
from flaxner.optimizer import linear_schedule, make_optimizer
from flaxner.sharding import make_mesh, place_batch
from flaxner.step import init_state, make_steps
from tests.compare import assert_close


def static_model(window, dropout=0.0):
    model = StaticModel(StaticConfig(20, 8, 3, window=window, hidden=16, dropout=dropout))
    table = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    return model, model.init(1, table)


def test_shapes_are_those_of_the_parameters():
    model, params = static_model(2)
    assert {k: v.shape for k, v in model.shapes.items()} == {k: v.shape for k, v in params.items()}


def test_a_frozen_table_stands_still_and_the_head_learns():
    model, params = static_model(1, dropout=0.1)
    schedule = linear_schedule(1e-2, 20, 0.1)
    optimizer, mesh = make_optimizer(schedule), make_mesh()
    steps = make_steps(model, Softmax(), optimizer, schedule, mesh, seed=0)
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


def test_neighbours_stand_in_order():
    x = jnp.arange(1.0, 5.0).reshape(1, 4, 1)
    got = neighbours(x, jnp.array([[1, 1, 1, 2]]), 1)
    assert got.tolist() == [[[0, 1, 2], [1, 2, 3], [2, 3, 0], [0, 4, 0]]]


def test_an_unknown_word_has_a_vector_of_its_own():
    model, params = static_model(0)
    ids = np.array([[1, 2]])
    moved = {**params, "unknown": params["unknown"] + 1.0}
    before, after = (np.asarray(model.apply(p, ids, ids, ids)) for p in (params, moved))
    assert np.any(before[0, 0] != after[0, 0])
    assert_close("exact", before[0, 1], after[0, 1])
