"""Every family against torch: logits, every layer, gradients; and the layouts of the layers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flaxner
from flaxner.models.layers.compute import Compute
from flaxner.models.tensors import to_hf
from flaxner.training.loss import Softmax
from tests.compare import assert_close, scaled_close
from tests.families import apply, each_family, each_network, each_variant, torch_inputs

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.real_program


@each_variant
def test_every_layer_and_the_logits_equal_torch(family, changes):
    """As packed rows are computed, positions from 0, and called as users call a model."""
    theirs, ours, params = family.pair(**{"initializer_range": 0.06, **changes})
    inputs = family.inputs(ours, length=min(30, ours.config.positions))
    with torch.no_grad():
        there = theirs(**torch_inputs(inputs), output_hidden_states=True)
    here = inputs["attention_mask"] == 1
    network = ours.bind(params)
    states = network.encode(**inputs, all_layers=True)
    assert len(states) == len(there.hidden_states) == ours.config.num_hidden_layers + 1
    for state, expected in zip(states, there.hidden_states, strict=True):
        assert_close("logits", np.asarray(state)[here], expected.numpy()[here])
    logits = there.logits.numpy()[here]
    assert_close("logits", np.asarray(apply(ours, params, inputs))[here], logits)
    assert_close("logits", np.asarray(network(**inputs))[here], logits)


@each_network
def test_gradients_equal_torch(family):
    theirs, ours, params = family.pair(initializer_range=0.1)
    inputs = family.inputs(ours, seed=3)
    # torch's tables learn nothing about the padding token, ours do: it has no business in a text
    pad = theirs.config.pad_token_id
    inputs["input_ids"][inputs["input_ids"] == pad] = pad + 1
    labels = np.random.default_rng(4).integers(0, 5, inputs["input_ids"].shape)
    labels[inputs["attention_mask"] == 0] = -100
    labels[:, ::3] = -100

    def loss(params):
        total, count = Softmax().loss(apply(ours, params, inputs), jnp.asarray(labels))
        return total / count

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    reference = theirs(**torch_inputs(inputs), labels=torch.tensor(labels)).loss
    reference.backward()
    np.testing.assert_allclose(value, reference.item(), rtol=1e-6)
    ours_named = to_hf(gradient, ours.rules)
    theirs_named = {name: p.grad.numpy() for name, p in theirs.named_parameters()}
    assert ours_named.keys() == theirs_named.keys()
    scaled_close("gradients", ours_named, theirs_named)


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


@each_family
def test_unsupported_variants_are_refused_by_name(family):
    for changes, message in family.refused:
        with pytest.raises(ValueError, match=message):
            family.model(**changes)
