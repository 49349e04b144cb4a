"""The jitted step: many devices equal one, accumulation changes nothing, AdamW equals torch's."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from flaxner.data.batches import TrainBatches
from flaxner.devices.mesh import make_mesh, path_sharding, place_batch
from flaxner.models.layers.compute import Compute
from flaxner.models.layers.dropout import dropout
from flaxner.models.network import Model
from flaxner.models.scratch import SCRATCH
from flaxner.training.accumulation import summed_gradient
from flaxner.training.loss import Softmax
from flaxner.training.optimizer import decay_mask, make_optimizer
from flaxner.training.rates import rates_by
from flaxner.training.step import INPUTS, init_state, make_steps
from tests.compare import assert_close, scaled_close
from tests.tiny import random_segments, tiny_config

STEPS = 20


@functools.cache
def run(devices=1, fsdp=1, accumulate=1, compute=None, **config):
    """Return the state, metrics and steps after training on this many devices."""
    model = Model(tiny_config(initializer_range=0.1, **config), compute or Compute())
    mesh = make_mesh(fsdp, jax.devices()[:devices])
    lengths = np.random.default_rng(3).integers(3, 20, 64)
    segments = random_segments(np.random.default_rng(4), lengths)
    batches = TrainBatches(segments, 16, 24, 5, 0, multiple=devices * accumulate)
    rates = rates_by("linear", STEPS, 0.1, 1e-3)
    # A small epsilon would let Adam enlarge rounding errors, see tests/test_families_training.py.
    optimizer = make_optimizer(epsilon=1e-3)
    made = make_steps(model, Softmax(), optimizer, rates, mesh, seed=0, accumulate=accumulate)
    state = init_state(model.init(0), optimizer, mesh)
    history = []
    for step in range(STEPS):
        rows = batches.at(step)
        batch = place_batch({n: getattr(rows, n) for n in (*INPUTS, "labels")}, mesh)
        state, metrics = made.train(state, batch)
        history.append({name: np.asarray(value) for name, value in metrics.items()})
    return state, history, made


def host(params):
    return {path: np.asarray(value) for path, value in params.items()}


SHARDINGS = [
    (8, 4),
    pytest.param(8, 1, marks=pytest.mark.slow),
    pytest.param(2, 2, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("devices", "fsdp"), SHARDINGS)
def test_eight_devices_equal_one(devices, fsdp):
    """Dropout is on: its masks, too, equal those of one device."""
    one, one_history, _ = run()
    many, many_history, _ = run(devices, fsdp)
    scaled_close("devices", host(many.params), host(one.params))
    for a, b in zip(many_history, one_history, strict=True):
        assert a["words"] == b["words"]
        np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5)


def test_fsdp_shards_parameters_and_moments():
    state, _, _ = run(8, 4)
    path = "layers/0/intermediate/kernel"
    kernel = state.params[path]
    assert kernel.addressable_shards[0].data.size == kernel.size // 4
    moments = [
        leaf
        for key, leaf in jax.tree_util.tree_leaves_with_path(state.opt_state)
        if getattr(key[-1], "key", None) == path
    ]
    assert len(moments) == 2
    assert all(m.addressable_shards[0].data.size == kernel.size // 4 for m in moments)


@pytest.mark.parametrize("devices", [1, 2])
def test_accumulation_gives_the_same_gradient(devices):
    model = Model(tiny_config(initializer_range=0.1))
    mesh = make_mesh(1, jax.devices()[:devices])
    segments = random_segments(np.random.default_rng(4), [5, 9, 14, 20, 3, 8, 17, 11] * 2)
    rows = TrainBatches(segments, 16, 24, 1, 0, multiple=8).at(0)
    batch = place_batch({n: getattr(rows, n) for n in (*INPUTS, "labels")}, mesh)

    def loss_sum(params, batch, key):
        logits = model.apply(params, *(batch[name] for name in INPUTS))
        return Softmax().loss(logits, batch["labels"])

    gradient = jax.jit(functools.partial(summed_gradient, loss_sum), static_argnums=3)
    params, key = model.init(0), jax.random.key(0)
    (loss, count), whole = gradient(params, batch, key, 1)
    (loss_of_parts, count_of_parts), parts = gradient(params, batch, key, 4)
    assert int(count) == int(count_of_parts) == segments.num_words
    assert_close("packing", loss_of_parts, loss)
    scaled_close("packing", host(parts), host(whole))


def test_training_lowers_the_loss_and_reports():
    _, history, made = run()
    assert history[-1]["loss"] < history[0]["loss"]
    assert history[0]["learning_rate"] == 0.0
    np.testing.assert_allclose(history[2]["learning_rate"], 1e-3, rtol=1e-6)
    assert {trace[0] for trace in made.traces} == {"train"}
    assert len(made.traces) == len(set(made.traces)) <= 2


def test_dropout_differs_by_step_and_repeats_by_seed():
    first, a, _ = run()
    with jax.default_prng_impl("rbg"):  # nor do random numbers depend on JAX's default generator
        again, b, _ = run.__wrapped__()
    assert_close("exact", host(first.params), host(again.params))
    assert a[0]["loss"] == b[0]["loss"]
    quiet = run(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)[1]
    assert quiet[0]["loss"] != a[0]["loss"]


def test_a_dropout_just_below_one_still_keeps_some():
    kept = np.asarray(dropout(jnp.ones((256, 256)), 0.999, jax.random.key(0)))
    assert set(np.unique(kept)) == {0, 256}
    assert kept.mean() == pytest.approx(1, abs=0.25)


def test_dropout_in_bfloat16_keeps_the_mean():
    """bfloat16 would round the factor of the kept values from 256 / 230 to 1.1094, 0.3% too low."""
    x = (1 + jnp.arange(128 * 128) % 128 / 128).astype(jnp.bfloat16)  # every value from 1 to 2
    kept, back = jax.vjp(lambda x: dropout(x, 0.1, jax.random.key(0)), x)
    for made in (kept, *back(x)):
        assert made.dtype == jnp.bfloat16
        made, given = (np.asarray(each, np.float64) for each in (made, x))
        assert made.sum() / given[made > 0].sum() == pytest.approx(256 / 230, rel=3e-4)


def test_predict_labels_every_position():
    state, _, made = run()
    segments = random_segments(np.random.default_rng(0), [9, 5])
    from flaxner.training.prediction import for_each_word

    mesh = make_mesh(1, jax.devices()[:1])
    program = functools.partial(made.predict, state.params)
    labels = for_each_word(program, segments, mesh, row_length=24, num_rows=2)
    assert labels.shape == (segments.num_words,)
    assert labels.min() >= 0
    assert labels.max() < 5


def test_the_loss_is_the_mean_over_labelled_words():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 7, 5)).astype(np.float32)
    labels = rng.integers(0, 5, (3, 7)).astype(np.int32)
    labels[rng.random((3, 7)) < 0.5] = -100
    total, count = Softmax().loss(logits, labels)
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(logits).reshape(-1, 5), torch.tensor(labels.reshape(-1)).long()
    )
    np.testing.assert_allclose(total / count, expected.item(), rtol=1e-6)


def test_adamw_equals_torch():
    """Clipping, decoupled decay with its mask, bias correction, the linear schedule."""
    torch = pytest.importorskip("torch")
    from transformers import get_linear_schedule_with_warmup

    rng = np.random.default_rng(0)
    shapes = {"a/kernel": (4, 3), "a/bias": (3,), "norm/scale": (3,), "e/embedding": (5, 4)}
    start = {path: rng.normal(size=shape).astype(np.float32) for path, shape in shapes.items()}
    theirs = {path: torch.nn.Parameter(torch.tensor(value)) for path, value in start.items()}
    decayed = [theirs[path] for path, on in decay_mask(start).items() if on]
    plain = [theirs[path] for path, on in decay_mask(start).items() if not on]
    assert len(decayed) == len(plain) == 2
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=1e-2)
    plan = get_linear_schedule_with_warmup(reference, 3, 10)
    optimizer = make_optimizer()
    rates = rates_by("linear", 10, 0.3, 1e-2).plan(tuple(start))
    params, opt_state = start, optimizer.init(start)
    for step in range(10):
        grads = {path: rng.normal(size=shape).astype(np.float32) for path, shape in shapes.items()}
        for path, grad in grads.items():
            theirs[path].grad = torch.tensor(grad * (0.01 if step % 2 else 1.0))
        torch.nn.utils.clip_grad_norm_(list(theirs.values()), 1.0)
        reference.step()
        plan.step()
        grads = {path: grad * (0.01 if step % 2 else 1.0) for path, grad in grads.items()}
        _, now = rates.at(step, tuple(start))
        updates, opt_state = optimizer.update(grads, opt_state, params, rates=now, decay=0.1)
        params = {path: params[path] + updates[path] for path in params}
    expected = {path: value.detach().numpy() for path, value in theirs.items()}
    assert_close("optimizer", host(params), expected)


@pytest.mark.parametrize("name", [*SCRATCH])
def test_weight_decay_applies_to_matrices_alone(name):
    model_type, sizes = SCRATCH[name]
    model = Model.from_fields({"model_type": model_type, **sizes, "vocab_size": 50}, 3)
    decays = decay_mask(model.shapes)
    assert decays == {path: leaf.ndim > 1 for path, leaf in model.shapes.items()}


def test_shardings_follow_the_rules():
    mesh = make_mesh(4)
    assert dict(mesh.shape) == {"data": 2, "fsdp": 4}
    assert path_sharding(mesh, "layers/0/query/kernel", (8, 6)).spec == P("fsdp", None)
    assert path_sharding(mesh, "layers/0/output/kernel", (8, 8)).spec == P(None, "fsdp")
    assert path_sharding(mesh, "layers/0/query/kernel", (6, 6)).spec == P(None, None)
    assert path_sharding(mesh, "layers/0/query/bias", (8,)).spec == P()
    with pytest.raises(ValueError, match="fsdp must divide the number of devices: 3 of 8"):
        make_mesh(3)


def test_a_model_is_hashable_and_static():
    model = Model(tiny_config())
    assert hash(model) == hash(dataclasses.replace(model))
