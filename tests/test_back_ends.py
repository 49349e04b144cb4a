"""What the steps request of TPUs and GPUs, read from the programs passed to their compilers."""

import contextlib
import re
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from flaxner.config.train import TrainConfig
from flaxner.models.layers.blocks import norm
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.lookup import _multiplied, lookup
from flaxner.models.vectors import StaticConfig, StaticModel
from flaxner.training.optimizer import global_norm, norm_by_lines
from flaxner.training.program import make_program
from tests.compare import assert_close
from tests.families import LEADS, each_network

WIDE = re.compile(r"stablehlo\.dot_general.*: \(tensor<[\dx]*xf32>, ")
NARROWED = re.compile(r"stablehlo\.convert.*: \(tensor<\d+xf32>\) -> tensor<\d+xbf16>")  # a vector
NARROW_SUM = re.compile(
    r"stablehlo\.reduce\(.*applies stablehlo\.add .*: \(tensor<[\dx]*(?:bf16|f16)>"
)
NUMBERS = re.compile(r"stablehlo\.constant dense<([^>]*)> : tensor<[\dx]*bf16>")


def lowered(model, platform, kind="train", length=32):
    """Return the text of a step as passed to the compiler of a platform."""
    program = make_program(TrainConfig(dataset="flaxner:embedded"), model, 10)
    state = program.abstract_state()
    batch = program.abstract_batch(8, length, labelled=kind == "train")
    given = (state if kind == "train" else state.params, batch)
    with as_if_on_a_gpu():
        traced = getattr(program.steps, kind).trace(*given)
        return traced.lower(lowering_platforms=(platform,)).as_text()


def as_if_on_a_gpu():
    """Since JAX 0.11, a kernel for GPUs is lowered for a GPU's kind, which devices here lack."""
    if jax.__version_info__ < (0, 11):
        return contextlib.nullcontext()
    kind = "jax._src.pallas.triton.gpu_info.get_device_kind"
    return mock.patch(kind, return_value="NVIDIA H100 80GB HBM3")


def products(text):
    """Return the lines of matrix products with float32 operands."""
    return [line for line in text.splitlines() if WIDE.search(line)]


@each_network
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_float32_is_float32(family, platform):
    """By default GPUs round the operands of a product to TF32, and TPUs to bfloat16."""
    kind = "gpu" if platform == "cuda" else platform
    found = products(lowered(family.model(Compute.on(kind, "float32")), platform))
    assert len(found) > 20
    assert not [line for line in found if "precision = [HIGHEST, HIGHEST]" not in line]


def test_tf32_must_be_requested_explicitly():
    found = products(lowered(LEADS["deberta-v2"].model(Compute.on("gpu", "tf32")), "cuda"))
    rounded = [line for line in found if "lhs_precision_type = tf32" in line]
    head = [line for line in found if "x5xf32>" in line]  # of five labels, always in float32
    assert len(rounded) > 20
    assert all(("HIGHEST" in line) != (line in rounded) for line in found)
    assert not set(head) & set(rounded)
    for platform in ("cpu", "tpu"):
        with pytest.raises(ValueError, match=f"NVIDIA GPU, but the platform is {platform.upper()}"):
            Compute.on(platform, "tf32")


def test_static_vector_taggers_are_float32():
    model = StaticModel(StaticConfig(rows=20, width=8, num_labels=5, window=1, hidden=8))
    found = products(lowered(model, "cuda"))
    assert len(found) == 6
    assert not [line for line in found if "precision = [HIGHEST, HIGHEST]" not in line]


def test_gpus_return_rounded_products():
    """Elsewhere a product is float32 and then converted; the compilers there fuse the two."""
    narrow = re.compile(
        r"dot_general.*\(tensor<[\dx]*bf16>, tensor<[\dx]*bf16>\) -> tensor<[\dx]*(\w+)>"
    )
    model = LEADS["bert"].model(Compute.on("gpu", "bfloat16"))
    results = {p: narrow.findall(lowered(model, p)) for p in ("cuda", "tpu")}
    assert set(results["tpu"]) == {"f32"}
    assert len(results["cuda"]) == len(results["tpu"])
    assert results["cuda"].count("bf16") > results["cuda"].count("f32") > 0


@each_network
def test_small_tables_are_not_scattered_on_gpus(family):
    """GPUs scatter with atomic operations, in no fixed order."""
    text = lowered(family.model(Compute.on("gpu", "bfloat16")), "cuda")
    scattered = re.findall(r"stablehlo\.scatter.*?tensor<([\dx]*)xf32>", text)
    assert not [shape for shape in scattered if shape.count("x") == 1]  # a table has two dimensions
    for platform in ("cpu", "tpu"):
        kind = Compute.on(platform, "float32")
        assert "stablehlo.scatter" in lowered(family.model(kind), platform)


@pytest.mark.parametrize("rows", [2, 30])
def test_a_product_gives_the_gradient_of_a_table(rows):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, rows, (4, 50)).astype(np.int32)
    gradient = rng.standard_normal((4, 50, 8)).astype(np.float32)
    theirs = jax.vjp(lambda table: jnp.take(table, ids, axis=0), jnp.zeros((rows, 8)))[1](gradient)
    ours = jax.vjp(lambda table: lookup(table, ids), jnp.zeros((rows, 8)))[1](gradient)
    assert_close("exact", ours[0], theirs[0])
    exact = np.zeros((rows, 8))
    np.add.at(exact, ids, gradient.astype(np.float64))
    np.testing.assert_allclose(_multiplied(ids, gradient, rows), exact, atol=2e-6)
    narrow = jax.vjp(lambda table: lookup(table, ids), jnp.zeros((rows, 8), jnp.bfloat16))[1]
    (rounded,) = narrow(gradient.astype(jnp.bfloat16))  # summed in float32, rounded once
    assert rounded.dtype == jnp.bfloat16
    sums = np.zeros((rows, 8))
    np.add.at(sums, ids, gradient.astype(jnp.bfloat16).astype(np.float64))
    np.testing.assert_allclose(rounded.astype(np.float32), sums, rtol=2**-8, atol=1e-5)


@each_network
def test_sums_are_taken_in_float32(family):
    """Gradients of biases and norms are sums over all tokens, and over the devices."""
    text = lowered(family.model(Compute.on("gpu", "bfloat16")), "cuda")
    assert "xbf16>" in text
    assert not NARROW_SUM.search(text)
    # Nor are the biases and scales themselves rounded, which would round their gradients too.
    assert not NARROWED.search(text)
    # Nor numbers such as the scale of the queries, by up to 0.4%.
    assert set(NUMBERS.findall(text)) <= {"0.000000e+00"}


def test_a_norm_is_rounded_once():
    """bfloat16 has no number between 1 and 1 + 2^-7, and the scales of norms stay close to 1."""
    x_BD = np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)
    exact, rounded = (
        norm(8, 1e-12, Compute(dtype=d), nnx.Rngs(0)) for d in ("float32", "bfloat16")
    )
    exact.scale[...] = rounded.scale[...] = jnp.linspace(0.996, 1.004, 8)
    graph, params = nnx.split(exact)
    expected, pull = jax.vjp(lambda params: nnx.merge(graph, params)(x_BD), params)
    graph, params = nnx.split(rounded)
    found, pulled = jax.vjp(lambda params: nnx.merge(graph, params)(x_BD), params)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, expected.astype(jnp.bfloat16))
    given = expected.astype(jnp.bfloat16)  # a gradient that both types represent exactly
    gradients = (pulled(given), pull(given.astype(jnp.float32)))
    for ours, theirs in zip(*map(jax.tree.leaves, gradients), strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-5)


def kernels(text):
    return len(re.findall(r"custom_call @(?:__gpu\$xla\.gpu\.triton|tpu_custom_call)", text))


def pairs(text, length):
    """Return whether there is an array over all pairs of positions and both heads."""
    return f"x2x{length}x{length}x" in text


def wide_heads(name, compute):
    """Return the model with heads of 16 features, the narrowest that the kernels support."""
    return LEADS[name].model(compute, num_attention_heads=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert", "modernbert"])
def test_gpus_train_long_rows_in_tiles(name):
    model = wide_heads(name, Compute.on("gpu", "bfloat16"))
    text = lowered(model, "cuda", length=384)
    assert kernels(text) >= 3  # forward, gradients of queries and of keys; equal layers share them
    assert not pairs(text, 384)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_long_rows_are_evaluated_in_tiles(platform):
    model = wide_heads("bert", Compute.on("gpu" if platform == "cuda" else platform, "bfloat16"))
    text = lowered(model, platform, "predict", 384)
    assert kernels(text)
    assert not pairs(text, 384)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("platform", "kind", "length", "compute"),
    [
        ("cuda", "predict", 64, Compute.on("gpu", "bfloat16")),  # too short
        ("cuda", "predict", 320, Compute.on("gpu", "bfloat16")),  # not divisible into tiles
        ("cuda", "predict", 384, Compute.on("gpu", "float32")),
        ("cuda", "predict", 384, Compute.on("gpu", "bfloat16", "7.5")),  # no bfloat16 hardware
        ("tpu", "train", 384, Compute.on("tpu", "bfloat16")),  # its kernel has no dropout
    ],
)
def test_other_steps_attend_to_whole_rows(platform, kind, length, compute):
    text = lowered(wide_heads("bert", compute), platform, kind, length)
    assert not kernels(text)
    assert pairs(text, length)


def test_the_norm_of_all_gradients_is_two_sums():
    rng = np.random.default_rng(0)
    shapes = [(3,), (5, 7), (2, 3, 4), (1,), (6, 2)]
    gradients = {str(i): rng.standard_normal(s, np.float32) for i, s in enumerate(shapes)}
    exact = np.sqrt(sum(np.square(g.astype(np.float64)).sum() for g in gradients.values()))
    assert norm_by_lines(list(gradients.values())) == pytest.approx(exact, rel=1e-6)
    assert global_norm(gradients) == optax.tree.norm(gradients)
    text = jax.jit(global_norm).trace(gradients).lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("stablehlo.reduce(") == 3 + 2  # over the lines of each matrix, then over all
