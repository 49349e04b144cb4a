"""Packed training steps on eight devices against torch on the same sentences, padded."""

import functools

import numpy as np
import pytest
from transformers import BertConfig as HfConfig

from flaxner.benchmark.torch_loop import Peer, TorchLoop
from flaxner.config.train import TrainConfig
from flaxner.devices.mesh import place_batch
from flaxner.models.layers.compute import Compute
from flaxner.models.network import Model
from flaxner.models.tensors import to_hf
from flaxner.training.program import make_program, train_batches
from tests.compare import assert_close
from tests.tiny import SIZES, random_segments, tiny_config

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.real_program

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def host(params):
    return {path: np.asarray(value) for path, value in params.items()}


@functools.cache
def corpus():
    """Sentences of very different lengths: packed rows hold many, and batches need much padding."""
    lengths = np.random.default_rng(1).integers(3, 24, 100)
    return random_segments(np.random.default_rng(2), lengths)


def ours(config, model, params, batches):
    """Return losses, gradient norms, and the final parameters."""
    program = make_program(config, model, batches.num_steps)
    state = program.init(params)
    losses, norms = [], []
    for step in range(batches.num_steps):
        rows = batches.at(step)
        batch = place_batch(program.arrays(rows), program.mesh)
        state, metrics = program.steps.train(state, batch)
        losses.append(float(metrics["loss"]))
        norms.append(float(metrics["grad_norm"]))
    return losses, norms, host(state.params)


def theirs(config, tensors, batches):
    """The same from the benchmarks' torch loop, with one padded batch per step."""
    from transformers import BertForTokenClassification

    model = BertForTokenClassification(HfConfig(**SIZES | STILL, num_labels=5))
    found = model.load_state_dict({k: torch.tensor(v) for k, v in tensors.items()}, strict=False)
    assert not found.unexpected_keys
    assert all("position_ids" in key for key in found.missing_keys)
    loop = TorchLoop(model, batches.segments, config, batches.num_steps, Peer())
    steps = [loop.step(batches.members(step)) for step in range(batches.num_steps)]
    losses, norms = [float(step.loss) for step in steps], [float(step.grad_norm) for step in steps]
    return losses, norms, {k: v.detach().cpu().numpy() for k, v in model.state_dict().items()}


def test_steps_equal_torchs():
    """Packing, loss, gradients, clipping, schedule, AdamW and its mask, all at once."""
    model = Model(tiny_config(initializer_range=0.1, **STILL), Compute())
    params = host(model.init(0))
    config = TrainConfig(
        dataset="flaxner:embedded", batch_size=16, epochs=3, max_length=24, row_length=24,
        learning_rate=1e-3, weight_decay=0.1, warmup_ratio=0.1, seed=0, precision="float32",
    )  # fmt: skip
    batches = train_batches(config, corpus(), 8)
    losses, norms, trained = ours(config, model, params, batches)
    expected_losses, expected_norms, expected = theirs(config, to_hf(params, model.rules), batches)
    assert batches.num_steps == len(losses) == 21
    assert max(norms) > 1.0  # so that clipping had an effect
    np.testing.assert_allclose(losses, expected_losses, rtol=2e-6)
    np.testing.assert_allclose(norms, expected_norms, rtol=1e-5)
    found = to_hf(trained, model.rules)
    # Softmax ignores a bias of the keys: ours stays put, torch's follows rounding noise.
    compared = [name for name in found if not name.endswith("key.bias")]
    assert len(compared) == len(found) - SIZES["num_hidden_layers"]
    for name in compared:
        assert_close("optimizer", found[name], expected[name], name)
