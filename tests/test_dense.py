"""Matrix products with bfloat16 operands: exact where they promise float32."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flaxner.aot.counts import matmul_flops
from flaxner.models.layers.activations import ACTIVATIONS
from flaxner.models.layers.blocks import norm
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.dense import add_bias, product
from flaxner.models.network import Model
from flaxner.training.loss import Softmax
from tests.tiny import tiny_config

BF16 = jnp.bfloat16


def rounded(x):
    return x.astype(BF16).astype(jnp.float32)


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("width", [6, 7])  # an odd size uses the plain order
def test_a_product_rounds_only_its_operands(width):
    x, kernel, gradient = normal(0, 2, 5, width), normal(1, width, 4), normal(2, 2, 5, 4)
    y, pull = jax.vjp(lambda x, kernel: product(x, kernel, BF16, jnp.float32), x, kernel)
    d_x, d_kernel = pull(gradient)
    x, kernel, gradient = rounded(x), rounded(kernel), rounded(gradient)
    np.testing.assert_allclose(y, x @ kernel, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(d_x, gradient @ kernel.T, rtol=1e-6, atol=1e-6)
    expected = jnp.einsum("abd,abf->df", x, gradient)
    np.testing.assert_allclose(d_kernel, expected, rtol=1e-6, atol=1e-6)
    assert d_kernel.dtype == jnp.float32


@pytest.mark.parametrize("width", [6, 7])
def test_a_batched_product_rounds_only_its_operands(width):
    a, b, gradient = normal(0, 2, 3, 5, width), normal(1, 2, 3, width, 4), normal(2, 2, 3, 5, 4)
    y, pull = jax.vjp(lambda a, b: product(a, b, BF16, jnp.float32), a, b)
    d_a, d_b = pull(gradient)
    a, b, gradient = rounded(a), rounded(b), rounded(gradient)
    np.testing.assert_allclose(y, a @ b, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(d_a, gradient @ b.swapaxes(2, 3), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(d_b, a.swapaxes(2, 3) @ gradient, rtol=1e-6, atol=1e-6)


def test_kernel_gradients_are_not_flattened_for_the_tpu_compiler():
    """Flattening turned the transposes around attention into copies: 8% more cycles for BERT."""
    shapes = jax.ShapeDtypeStruct((2, 6, 8), BF16), jax.ShapeDtypeStruct((8, 4), jnp.float32)
    gradient = jax.grad(lambda x, kernel: product(x, kernel, BF16, jnp.float32).sum(), 1)
    text = jax.jit(gradient).trace(*shapes).lower(lowering_platforms=("tpu",)).as_text()
    assert "contracting_dims = [0, 1] x [0, 1]" in text
    assert "stablehlo.reshape" not in text


def test_results_and_their_gradients_have_the_dtype_of_the_activations():
    x, kernel = normal(0, 5, 6).astype(BF16), normal(1, 6, 4)
    y, pull = jax.vjp(lambda x, kernel: product(x, kernel, BF16, BF16), x, kernel)
    d_x, d_kernel = pull(y)
    assert (y.dtype, d_x.dtype, d_kernel.dtype) == (BF16, BF16, jnp.float32)


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_bfloat16_gradients_stay_near_float32(platform):
    model = Model(tiny_config(initializer_range=0.1), Compute())
    params = model.init(0)
    ids = np.random.default_rng(0).integers(1, 40, (4, 16)).astype(np.int32)
    ones, places = np.ones_like(ids), np.broadcast_to(np.arange(16, dtype=np.int32), ids.shape)

    def gradient(compute):
        used = dataclasses.replace(model, compute=compute)

        def loss(params):
            return Softmax().loss(used.apply(params, ids, ones, places), ids % 2)[0]

        return jax.grad(loss)(params)

    exact, half = gradient(Compute()), gradient(Compute.on(platform, "bfloat16"))
    for path, value in exact.items():
        assert half[path].dtype == jnp.float32, path
        norm = np.linalg.norm(value)
        assert np.linalg.norm(half[path] - value) <= 0.05 * norm + 1e-6, path


def test_the_activation_dtype_depends_on_the_platform():
    assert Compute.on("cpu", "bfloat16").activation_dtype == "float32"
    assert Compute.on("tpu", "bfloat16").activation_dtype == "bfloat16"
    assert Compute.on("gpu", "float32", remat=True) == Compute("float32", remat=True)


def test_both_precisions_count_the_same_products():
    shapes = jax.ShapeDtypeStruct((2, 6, 8), jnp.float32), jax.ShapeDtypeStruct((8, 4), jnp.float32)

    def flops(dtype):
        def loss(x, kernel):
            return product(x, kernel, dtype, jnp.float32).sum()

        return matmul_flops(jax.make_jaxpr(jax.grad(loss, (0, 1)))(*shapes).jaxpr)

    # The gradient of a sum needs no forward product: XLA drops it, but it is still counted.
    assert flops(jnp.float32) == flops(BF16) == 3 * 2 * 12 * 8 * 4


def test_on_a_cpu_kernel_gradients_copy_no_operand():
    """Positions form one axis there: a sum over several axes would transpose an operand first."""
    x_BLD, g_BLF = jnp.ones((3, 24, 16)), jnp.ones((3, 24, 8))

    def gradient(kernel_DF):
        y_BLF = product(x_BLD, kernel_DF, jnp.float32, jnp.float32)
        return jnp.sum(y_BLF * g_BLF)

    text = jax.jit(jax.grad(gradient)).lower(jnp.ones((16, 8))).as_text()
    (line,) = [line for line in text.splitlines() if "dot_general" in line]
    assert "contracting_dims = [0] x [0]" in line


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_in_bfloat16_are_rounded_once(name):
    """Constants were rounded too: GELU's gradient had 1.125 for 2 / sqrt(pi), 0.3% less."""
    x = jnp.linspace(-6, 6, 4001).astype(jnp.bfloat16)
    exact = ACTIVATIONS[name]
    wide = x.astype(jnp.float32)
    for narrow, reference in (
        (exact(x), exact(wide)),
        (jax.grad(lambda x: exact(x).sum())(x), jax.grad(lambda x: exact(x).sum())(wide)),
    ):
        assert narrow.dtype == jnp.bfloat16
        # Half a unit in the last place, and what float32 loses near a zero.
        error = np.abs(np.asarray(narrow, np.float32) - np.asarray(reference))
        assert (error <= 2.0**-8 * np.abs(reference) + 2e-7).all()


@pytest.mark.parametrize("given", ["bfloat16", "float32"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_the_norm_for_gpus_equals_the_other(given, use_bias):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(2, 3, (3, 5, 48)), given)
    d = jnp.asarray(rng.normal(size=x.shape), jnp.float32)
    sides = []
    for kernels in ("gpu", ""):
        compute = Compute("bfloat16", activations=given, kernels=kernels)
        made = norm(48, 1e-12, compute, nnx.Rngs(0), use_bias=use_bias)
        assert made.for_gpu == (kernels == "gpu")
        graph, params = nnx.split(made)
        random = jax.tree.map(lambda p: p + 0.5, params)

        def loss(params, x, graph=graph):
            y = nnx.merge(graph, params)(x)
            return (y * d).sum(), y

        grads, y = jax.grad(loss, argnums=(0, 1), has_aux=True)(random, x)
        assert y.dtype == given
        sides.append((y, *jax.tree.leaves(grads)))
    for mine, other in zip(*sides, strict=True):
        assert mine.dtype == other.dtype
        narrow = mine.dtype == BF16  # one of the two may round to the next number
        mine, other = (np.asarray(side, np.float32) for side in (mine, other))
        limit = 2.0**-8 * np.abs(other) if narrow else 1e-5 * np.abs(other).max()
        assert (np.abs(mine - other) <= limit + 1e-6).all()


def test_the_gradient_of_a_bias_is_summed_in_float32():
    y = jnp.zeros((6, 300, 2, 1), jnp.bfloat16)
    for shape in [(1,), (2, 1)]:
        d_y, d_bias = jax.grad(lambda y, b: (3 * add_bias(y, b)).sum(), argnums=(0, 1))(
            y, jnp.zeros(shape, jnp.float32)
        )
        assert (d_y.dtype, d_bias.dtype) == (jnp.bfloat16, jnp.float32)
        assert (d_y == 3).all()
        assert d_bias.shape == shape
        assert (d_bias == 3 * 1800 * 2 / np.prod(shape)).all()
