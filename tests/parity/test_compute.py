"""Every family against itself, computed in other ways: layers scanned, recomputed, in bfloat16.

Nothing here is compared with torch's digits, so that programs are compiled quickly.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flaxner
from flaxner.models.layers.compute import Compute
from tests.compare import assert_close
from tests.families import apply, each_family, each_network

pytest.importorskip("torch")


@each_network
def test_scanned_layers_equal_unrolled(family):
    _, ours, params = family.pair(**family.variants["deep"])
    inputs = family.inputs(ours, seed=5)
    key = jax.random.key(0)
    reference = apply(ours, params, inputs, dropout_key=key)
    for compute in (
        Compute(scan_layers=True),
        Compute(remat=True),
        Compute(scan_layers=True, remat=True),
    ):
        other = dataclasses.replace(ours, compute=compute)
        assert other.shapes.keys() == ours.shapes.keys()
        got = apply(other, params, inputs, dropout_key=key)
        assert_close("logits", got, reference)


@each_network
def test_bfloat16_stays_near_float32(family):
    _, ours, params = family.pair()
    inputs = family.inputs(ours, seed=6)
    half = dataclasses.replace(ours, compute=Compute(dtype="bfloat16"))
    got, reference = apply(half, params, inputs), apply(ours, params, inputs)
    assert got.dtype == jnp.float32
    error = np.abs(np.asarray(got) - np.asarray(reference)).max()
    assert 0 < error < 0.05 * np.abs(np.asarray(reference)).max() + 0.02


@each_family
def test_module_is_a_plain_nnx_module(family):
    from flax import nnx

    config = family.model().config
    model = getattr(flaxner, f"Flax{family.architecture}")(config, rngs=nnx.Rngs(0))
    logits = model(jnp.ones((2, 7), jnp.int32))
    assert logits.shape == (2, 7, 5)
    assert logits.dtype == jnp.float32
