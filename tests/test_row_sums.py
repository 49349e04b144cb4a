"""The gradient of a large table on a GPU: rows with the same id are summed in a fixed order."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxner.devices.mesh import batch_sharding, kernels_over, make_mesh
from flaxner.models.layers.lookup import _summed, lookup
from flaxner.models.layers.row_sums import CHUNK, row_sums

WIDTH = 8


def exact(ids, x, numbers):
    sums = np.zeros((numbers, x.shape[-1]))
    np.add.at(sums, ids.ravel(), x.reshape(-1, x.shape[-1]).astype(np.float64))
    return sums


@pytest.fixture(scope="module")
def summed():
    return jax.jit(row_sums, static_argnums=2)


ROWS, NUMBERS = 4 * CHUNK, 300


@pytest.mark.parametrize("read", [NUMBERS, 5, 1])
def test_rows_with_the_same_id_are_summed(summed, read):
    """Most ids with few rows; runs that span several chunks; a single run of all rows."""
    rng = np.random.default_rng(read)
    ids = rng.integers(0, read, ROWS).astype(np.int32)
    x = rng.standard_normal((ROWS, WIDTH), np.float32)
    np.testing.assert_allclose(summed(ids, x, NUMBERS), exact(ids, x, NUMBERS), atol=1e-5)


def test_a_few_narrow_rows_are_summed_in_float32(summed):
    ids = np.array([7, 3, 7, 7, 0], np.int32)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((5, WIDTH)), jnp.bfloat16)
    made = summed(ids, x, 9)
    assert made.dtype == jnp.float32
    np.testing.assert_allclose(made, exact(ids, np.asarray(x, np.float32), 9), atol=1e-6)


@pytest.mark.parametrize("numbers", [90, 2000])
def test_several_devices_compute_the_same_sums(numbers):
    """With more ids than positions, every device sums all of them, and to the same bits."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 90, (4, 50)).astype(np.int32)
    x = rng.standard_normal((4, 50, WIDTH), np.float32)
    mesh = make_mesh(devices=jax.devices()[:2])

    @functools.partial(jax.jit, in_shardings=batch_sharding(mesh))
    def spread(ids, x):
        with kernels_over(mesh):
            return _summed(ids, x, numbers)

    alone = jax.jit(_summed, static_argnums=2)(ids, x, numbers)
    together = spread(ids, x)
    np.testing.assert_allclose(together, exact(ids, x, numbers), atol=1e-5)
    if numbers > ids.size:
        assert (np.asarray(alone) == np.asarray(together)).all()


def test_sums_of_seeds_at_once_equal_single_sums(summed):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 30, ROWS).astype(np.int32)
    x = rng.standard_normal((2, ROWS, WIDTH), np.float32)
    both = jax.jit(jax.vmap(lambda x: row_sums(ids, x, NUMBERS)))(x)
    for one, own in zip(both, x, strict=True):
        np.testing.assert_allclose(one, summed(ids, own, NUMBERS), atol=1e-6)


def test_gpus_do_not_scatter_add_gradients():
    """GPUs sort the ids and scatter only the places of the sums; other back ends scatter-add."""
    ids = np.zeros((4, 50), np.int32)

    def gradient(table):
        return jax.grad(lambda table: lookup(table, ids).sum())(table)

    traced = jax.jit(gradient).trace(jax.ShapeDtypeStruct((2000, WIDTH), jnp.float32))
    texts = {p: traced.lower(lowering_platforms=(p,)).as_text() for p in ("cuda", "cpu", "tpu")}
    scattered = {p: f"tensor<2000x{WIDTH}xf32>, tensor" in t for p, t in texts.items()}
    assert scattered == {"cuda": False, "cpu": True, "tpu": True}
    assert {p: "stablehlo.sort" in t for p, t in texts.items()} == {
        "cuda": True,
        "cpu": False,
        "tpu": False,
    }
    assert "unique_indices = true" in texts["cuda"]
