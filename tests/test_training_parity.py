"""A run of steps, packed, on eight devices, against torch on the same sentences, padded."""

import functools

import numpy as np
import pytest
from transformers import BertConfig as HfConfig

from flaxner.benchmark.torch_reference import padded
from flaxner.data.batches import TrainBatches
from flaxner.devices.mesh import make_mesh, place_batch
from flaxner.models.layers.compute import Compute
from flaxner.models.network import Model
from flaxner.models.tensors import to_hf
from flaxner.training.loss import Softmax
from flaxner.training.optimizer import linear_schedule, make_optimizer
from flaxner.training.step import INPUTS, init_state, make_steps
from tests.compare import assert_close
from tests.tiny import SIZES, random_segments, tiny_config

torch = pytest.importorskip("torch")

PEAK, DECAY, WARMUP, SENTENCES = 1e-3, 0.1, 0.1, 16
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def host(params):
    return {path: np.asarray(value) for path, value in params.items()}


@functools.cache
def corpus():
    """Sentences of very different lengths: packed rows hold many, batches pad a lot."""
    lengths = np.random.default_rng(1).integers(3, 24, 100)
    return random_segments(np.random.default_rng(2), lengths)


def ours(model, params, batches):
    """Losses, gradient norms, and the parameters at the end."""
    schedule = linear_schedule(PEAK, batches.num_steps, WARMUP)
    optimizer, mesh = make_optimizer(schedule, weight_decay=DECAY), make_mesh()
    made = make_steps(model, Softmax(), optimizer, schedule, mesh, seed=0)
    state = init_state(params, optimizer, mesh)
    losses, norms = [], []
    for step in range(batches.num_steps):
        rows = batches.at(step)
        batch = place_batch({n: getattr(rows, n) for n in (*INPUTS, "labels")}, mesh)
        state, metrics = made.train(state, batch)
        losses.append(float(metrics["loss"]))
        norms.append(float(metrics["grad_norm"]))
    return losses, norms, host(state.params)


def theirs(tensors, batches):
    """The same of torch: one padded batch a step, decay on matrices only."""
    from transformers import BertForTokenClassification, get_linear_schedule_with_warmup

    model = BertForTokenClassification(HfConfig(**SIZES | STILL, num_labels=5))
    found = model.load_state_dict({k: torch.tensor(v) for k, v in tensors.items()}, strict=False)
    assert not found.unexpected_keys
    assert all("position_ids" in key for key in found.missing_keys)
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    plain = [p for name, p in named if name.endswith("bias") or "LayerNorm" in name]
    decayed = [p for name, p in named if not (name.endswith("bias") or "LayerNorm" in name)]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK)
    steps = batches.num_steps
    plan = get_linear_schedule_with_warmup(optimizer, round(WARMUP * steps), steps)
    model.train()
    losses, norms = [], []
    for step in range(steps):
        loss = model(**padded(batches.segments, batches.members(step), torch)).loss
        loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)))
        optimizer.step()
        plan.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, norms, {k: v.detach().numpy() for k, v in model.state_dict().items()}


def test_steps_equal_torchs():
    """Packing, loss, gradients, clipping, schedule, AdamW and its mask, all at once."""
    model = Model(tiny_config(initializer_range=0.1, **STILL), Compute())
    params = host(model.init(0))
    batches = TrainBatches(corpus(), SENTENCES, 24, 3, seed=0, multiple=8)
    losses, norms, trained = ours(model, params, batches)
    expected_losses, expected_norms, expected = theirs(to_hf(params, model.rules), batches)
    assert batches.num_steps == len(losses) == 21
    assert max(norms) > 1.0  # clipping had something to do
    np.testing.assert_allclose(losses, expected_losses, rtol=2e-6)
    np.testing.assert_allclose(norms, expected_norms, rtol=1e-5)
    found = to_hf(trained, model.rules)
    # Softmax takes no notice of a bias of the keys: ours stays, torch's follows rounding noise.
    compared = [name for name in found if not name.endswith("key.bias")]
    assert len(compared) == len(found) - SIZES["num_hidden_layers"]
    for name in compared:
        assert_close("optimizer", found[name], expected[name], name)
