"""Tiled attention: the kernels' results, interpreted on a CPU."""

import dataclasses
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32

from flaxner.devices.mesh import batch_sharding, kernels_over, make_mesh
from flaxner.inference.classifier import load_classifier
from flaxner.inference.jax_engine import JaxEngine
from flaxner.models.layers import tiles
from flaxner.models.layers.attention import attend_by_tiles
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.counters import levels_of, threefry
from flaxner.models.layers.fused import attend
from flaxner.models.network import Model
from flaxner.training.stack import stacked_sharding
from tests.pipelines import make_folder
from tests.tiny import tiny_config

L, K = 2 * tiles.TILE, 16
DROPPED = 26


def arrays(rows, heads, seed=0):
    """Return queries, keys, values and a gradient; segments with padding; random words."""
    rng = np.random.default_rng(seed)
    x = [rng.standard_normal((rows, L, heads, K)).astype(np.float32) for _ in range(4)]
    ids = np.zeros((rows, L), np.int32)
    for row in ids:
        ends = np.sort(rng.choice(np.arange(10, L - 5), 4, replace=False))
        for number, (begin, end) in enumerate(itertools.pairwise([0, *ends]), 1):
            row[begin:end] = number
    words = [rng.integers(0, 2**32, rows, np.uint32) for _ in range(2)]
    return *map(jnp.asarray, x), jnp.asarray(ids), tuple(map(jnp.asarray, words))


def plain(kind, q, k, v, ids, words):
    """Compute the same attention with all pairs in memory."""
    H = q.shape[2]
    apart = jnp.abs(jnp.arange(L)[:, None] - jnp.arange(L)[None])
    meet = ids[:, None, :, None] == ids[:, None, None, :]
    if kind.window is not None:
        meet &= apart <= kind.window
    scores = jnp.einsum("blhk,bmhk->bhlm", q, k, precision="highest") / math.sqrt(K)
    p = jax.nn.softmax(jnp.where(meet, scores, -jnp.inf), axis=-1)
    if words:
        lines, eights = jnp.arange(H * L), jnp.arange(L // 8)
        levels = jax.vmap(lambda *key: levels_of(key, lines, eights))(*words)
        kept = levels.reshape(-1, H, L, L) >= kind.threshold
        p = jnp.where(kept, p * 256 / (256 - kind.threshold), 0.0)
    return jnp.einsum("bhlm,bmhk->blhk", p, v, precision="highest")


def with_gradients(attention, q, k, v, d, ids, words):
    out, back = jax.vjp(lambda *qkv: attention(*qkv, ids, words), q, k, v)
    return out, *back(d)


def test_random_words_equal_threefrys():
    key, counter = np.array([5, 9], np.uint32), np.array([1, 2, 3, 4], np.uint32)
    lines, eights = np.arange(64), np.arange(16)

    @jax.jit
    def drawn(one, two):
        words = threefry((one, two), (counter[:2], counter[2:]))
        levels = [levels_of((one, two), lines, eights, turned=turned) for turned in (0, 1)]
        return jnp.concatenate(words), *levels

    words, levels, turned = map(np.asarray, drawn(*key))
    assert (words == threefry_2x32(key, counter)).all()
    assert (levels == turned.T).all()
    counts = np.bincount(levels.ravel(), minlength=256)
    assert abs(counts - 32).max() < 32  # 8,192 levels, about 32 of each


def test_tiles_that_cannot_meet_are_not_visited():
    ids = np.repeat([[1, 2, 2, 3, 0, 0], [1, 1, 1, 1, 1, 1], [2, 0, 0, 1, 1, 0]], 64, axis=1)
    first, last = tiles.bounds(jnp.asarray(ids), None)
    assert first[0].tolist() == [0, 1, 1, 3, 4, 4]
    assert last[0].tolist() == [1, 3, 3, 4, 6, 6]
    assert (first[1] == 0).all()
    assert (last[1] == 6).all()
    assert (first[2].tolist(), last[2].tolist()) == ([0, 1, 1, 3, 3, 1], [1, 6, 6, 5, 5, 6])
    first, last = tiles.bounds(jnp.asarray(ids), 65)
    assert first[1].tolist() == [0, 0, 0, 1, 2, 3]
    assert last[1].tolist() == [3, 4, 5, 6, 6, 6]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("window", "threshold"), [(None, 0), (None, DROPPED), (20, 0), (20, DROPPED)]
)
def test_kernels_equal_plain_attention(window, threshold):
    q, k, v, d, ids, words = arrays(1 if threshold else 2, 2)
    words = words if threshold else ()
    kind = tiles.Kind(window, threshold, interpret=True)
    ours = with_gradients(lambda *x: attend(kind, *x), q, k, v, d, ids, words)
    theirs = with_gradients(lambda *x: plain(kind, *x), q, k, v, d, ids, words)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=3e-6)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [0, 2])
def test_rows_are_spread_over_devices(seeds):
    """For one seed and for several at once: each device has its own rows, and the same dropout."""
    q, k, v, d, ids, words = arrays(4, 2)
    kind, mesh = tiles.Kind(None, DROPPED, interpret=True), make_mesh(devices=jax.devices()[:2])

    def one(*x):
        return with_gradients(lambda *y: attend(kind, *y), *x)

    def on_mesh(*y):  # as in a training step: gradients are taken outside kernels_over
        with kernels_over(mesh):
            return attend(kind, *y)

    def spread(*x):
        def each(*y):
            return with_gradients(on_mesh, *y)

        return (jax.vmap(each) if seeds else each)(*x)

    given = (q, k, v, d, ids, words)
    whole = jax.jit(one)(*given)
    sharding = batch_sharding(mesh)
    if seeds:
        given = jax.tree.map(lambda x: jnp.stack([x, x[::-1]]), given)
        sharding = stacked_sharding(sharding)
    made = jax.jit(spread, in_shardings=sharding)(*given)
    for one, other in zip(made, whole, strict=True):
        assert not one.sharding.is_fully_replicated
        expected = jnp.stack([other, other[::-1]]) if seeds else other
        np.testing.assert_allclose(one, expected, atol=1e-6)


def test_long_rows_are_spread_over_devices_in_inference():
    """XLA does not partition kernels: on TPUs it refuses one in a program for several devices."""
    sizes = tiny_config(max_position_embeddings=512, hidden_size=64)
    model = Model(sizes, Compute.on("tpu", "bfloat16"))
    zeros = np.zeros((8, 512), np.int32)
    engine = JaxEngine(model.apply, model.init(0))
    assert len(engine.devices) == 8
    traced = engine._forward.trace(engine._params, zeros, zeros, zeros)
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert "tpu_custom_call" in text


def test_a_pipeline_on_the_cpu_uses_no_kernels_of_other_chips(tmp_path):
    """With a GPU present the model is loaded for it, but the pipeline may compute on the CPU."""
    classifier = load_classifier(make_folder(tmp_path / "model"), dtype="bfloat16")
    for platform in ("gpu", "tpu"):
        compute = Compute.on(platform, "bfloat16")
        model = dataclasses.replace(classifier.model, compute=compute)
        there = dataclasses.replace(classifier, model=model)
        assert there.on(jax.devices("cpu")[0]).model.compute == Compute.on("cpu", "bfloat16")


def test_extra_rows_do_not_change_dropout_in_tiles(monkeypatch):
    """A run may resume on more devices, where a batch has more rows."""
    seen = []

    def attend(kind, q, k, v, ids, words):
        seen.append(np.stack(words))
        return v

    monkeypatch.setattr("flaxner.models.layers.attention.attend", attend)
    compute = Compute(kernels="gpu")
    for rows in (4, 6):
        qkv = [jnp.zeros((rows, 128, 2, 16))] * 3
        attend_by_tiles(compute, qkv, jnp.ones((rows, 128)), 0.1, jax.random.key(3))
    np.testing.assert_array_equal(seen[0], seen[1][:, :4])
    assert len(set(seen[1].ravel().tolist())) == 12
