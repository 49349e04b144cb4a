"""Operations merged into few kernels for NVIDIA GPUs: the results equal those of many kernels."""

import re

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flaxner.models.layers.attention import Attention, Within, by_tiles
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.dense import product, rounded_together
from flaxner.models.layers.merging import by_lines, by_ones, scaled, side_by_side
from flaxner.models.network import Model
from flaxner.training.optimizer import make_optimizer
from tests.tiny import tiny_config


def test_multiplying_by_ones_changes_nothing():
    rng = np.random.default_rng(0)
    shapes = {"a": (), "b": (5,), "c": (3, 5), "d": (2, 3, 4)}
    tree = {name: jnp.asarray(rng.standard_normal(s, np.float32)) for name, s in shapes.items()}
    tree["e"] = tree["c"].astype(jnp.bfloat16)
    for made in (jax.jit(by_ones)(tree), side_by_side(tree)):
        for name, array in tree.items():
            assert made[name].dtype == array.dtype
            assert (made[name] == array).all()
    text = jax.jit(side_by_side).trace(tree).lower(lowering_platforms=("tpu",)).as_text()
    assert "multiply" not in text


def test_scaling_by_lines_equals_scaling_by_a_number():
    rng = np.random.default_rng(0)
    tree = [jnp.asarray(rng.standard_normal(s, np.float32)) for s in ((), (5,), (3, 5), (2, 4))]
    factor = jnp.float32(0.3)
    for made in (jax.jit(by_lines)(tree, factor), jax.jit(scaled)(tree, factor)):
        for x, y in zip(tree, made, strict=True):
            assert (y == factor * x).all()


def test_norm_and_update_scale_by_separate_lines():
    """With shared lines XLA kept the product in memory and merged no updates of those arrays."""
    optimizer = make_optimizer()
    tree = {"a/kernel": jnp.ones((6, 4)), "b/kernel": jnp.ones((6, 4))}
    rates = dict.fromkeys(tree, 1e-3)
    update = jax.jit(lambda *given: optimizer.update(*given, rates=rates, decay=0.01))
    traced = update.trace(tree, optimizer.init(tree), tree)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    barriers = re.findall(r"(%\w+) = stablehlo.optimization_barrier (%\w+) : tensor<4xf32>", text)
    assert len({given for _, given in barriers}) == 2
    assert "optimization_barrier" not in traced.lower(lowering_platforms=("tpu",)).as_text()


def test_kernels_that_are_rounded_together_have_their_own_gradients():
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.standard_normal(s, np.float32)) for s in ((7, 6), (6, 4)))

    def gradients(prepared):
        def total(kernel):
            y = product(x, prepared(kernel), jnp.bfloat16, jnp.float32)
            return jnp.sum(jnp.sin(y))

        return jax.value_and_grad(total)(kernel)

    def together(kernel):
        return rounded_together([kernel], jnp.bfloat16)[0]

    (one, ours), (other, theirs) = gradients(together), gradients(lambda kernel: kernel)
    assert one == other
    assert ours.dtype == jnp.float32
    assert (ours == theirs).all()


def test_the_kernels_of_the_encoder_are_rounded_and_no_others():
    model = Model(tiny_config(num_hidden_layers=1), Compute.on("gpu", "bfloat16"))
    names = {"attention/query", "attention/key", "attention/value", "attention/output"}
    expected = {f"layers/0/{name}/kernel" for name in (*names, "intermediate", "output")}
    assert set(model._narrow) == expected
    assert not Model(model.config, Compute.on("gpu", "float32"))._narrow
    ids = np.zeros((2, 32), np.int32)
    traced = jax.jit(model.apply).trace(model.shapes, ids, ids, ids)
    barrier = "optimization_barrier .*tensor<32x48xbf16>"
    assert re.search(barrier, traced.lower(lowering_platforms=("cuda",)).as_text())
    assert not re.search(barrier, traced.lower(lowering_platforms=("tpu",)).as_text())


def test_queries_keys_and_values_are_one_product_on_gpus():
    """The gradient with respect to their input is then a single product, too."""
    rng = np.random.default_rng(0)
    x_BLD = jnp.asarray(rng.standard_normal((2, 16, 32), np.float32))
    contexts = [Within.of(jnp.asarray(rng.integers(1, 3, (2, 16))))]

    def of(kernels):
        compute = Compute(kernels=kernels)
        graph, state = nnx.split(Attention(32, 4, 0.0, 0.1, compute, rngs=nnx.Rngs(0)))

        def total(state, x_BLD):
            mixed_BLD = nnx.merge(graph, state)(x_BLD, contexts, None)
            return jnp.sum(jnp.sin(mixed_BLD)), mixed_BLD

        given = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(state, x_BLD)
        gradients, mixed_BLD = given
        assert not gradients[0]["key"]["bias"].get_value().any()
        return [mixed_BLD, *jax.tree.leaves(gradients)]

    for ours, theirs in zip(of("gpu"), of(""), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_which_rows_use_tiled_attention():
    gpu, tpu = Compute.on("gpu", "bfloat16"), Compute.on("tpu", "bfloat16")
    whole, parts = [None], [None, None]
    key = jax.random.key(0)
    assert by_tiles(gpu, whole, 128, 64, key)
    assert by_tiles(gpu, whole, 128, 64, key, window=64)
    assert by_tiles(tpu, whole, 384, 64, None)
    others = [
        (gpu, whole, 64, 64, None),
        (gpu, whole, 192, 64, None),
        (gpu, whole, 128, 8, None),
        (gpu, parts, 128, 64, None),
        (tpu, whole, 256, 64, None),
        (tpu, whole, 384, 64, key),
        (Compute(), whole, 384, 64, None),
    ]
    assert not any(by_tiles(*each) for each in others)
