"""Every family's training: the same on eight devices as on one, and when resumed."""

import jax
import numpy as np
import pytest
from rich.console import Console

from flaxner.config.train import TrainConfig
from flaxner.data.batches import TrainBatches
from flaxner.data.labels import LabelScheme
from flaxner.devices.mesh import make_mesh, place_batch
from flaxner.publishing.hub_folder import export_folder
from flaxner.runs.checkpoint import Checkpoints, Progress
from flaxner.training.loss import Softmax
from flaxner.training.optimizer import make_optimizer
from flaxner.training.rates import rates_by
from flaxner.training.run import train
from flaxner.training.step import INPUTS, init_state, make_steps
from tests.compare import assert_close, scaled_close
from tests.conll import sentences, write_conll
from tests.families import LEADS, each_family
from tests.tiny import random_segments
from tests.wordpiece import tiny_tokenizer

STEPS, HALF = 20, 10


class Run:
    """Some steps of a family's training on a number of devices."""

    def __init__(self, family, devices=1, fsdp=1):
        self.model, self.mesh = (
            family.model(initializer_range=0.1),
            make_mesh(fsdp, jax.devices()[:devices]),
        )
        lengths = np.random.default_rng(3).integers(3, 11, 64)  # always eight rows: one program
        segments = random_segments(np.random.default_rng(4), lengths)
        self.batches = TrainBatches(segments, 16, 24, 5, 0, multiple=8)
        rates = rates_by("linear", STEPS, 0.1, 1e-3)
        # If epsilon is small compared to the gradients, Adam turns the rounding errors of near-zero
        # gradients into steps, and these errors depend on the number of devices.
        self.optimizer = make_optimizer(epsilon=1e-3)
        self.steps = make_steps(self.model, Softmax(), self.optimizer, rates, self.mesh, seed=0)

    def start(self):
        return init_state(self.model.init(0), self.optimizer, self.mesh)

    def train(self, state, first, last):
        """Return the state after steps `first` up to `last` (exclusive), and their losses."""
        losses = []
        for step in range(first, last):
            rows = self.batches.at(step)
            batch = place_batch({n: getattr(rows, n) for n in (*INPUTS, "labels")}, self.mesh)
            state, metrics = self.steps.train(state, batch)
            losses.append(float(metrics["loss"]))
        return state, losses


def host(params):
    return {path: np.asarray(value) for path, value in params.items()}


# The quick suite has the networks that differ most (test_step.py trains BERT); -m slow has all.
QUICK_ONES = ("roberta", "deberta-v2", "modernbert")


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, id=name, marks=() if name in QUICK_ONES else pytest.mark.slow)
        for name, family in LEADS.items()
    ],
)
def test_resuming_and_eight_devices_change_nothing(family, tmp_path):
    """With dropout: the masks, too, equal those of one device and of an uninterrupted run."""
    one = Run(family)
    whole, losses = one.train(one.start(), 0, STEPS)
    half, _ = one.train(one.start(), 0, HALF)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(half, Progress(), {})
    checkpoints.wait()
    again, rest = one.train(checkpoints.restore(HALF, one.start()), HALF, STEPS)
    checkpoints.close()
    assert rest == losses[HALF:]
    assert_close("exact", host(again.params), host(whole.params))

    many = Run(family, devices=8, fsdp=4)
    spread, their_losses = many.train(many.start(), 0, STEPS)
    scaled_close("devices", host(spread.params), host(whole.params))
    np.testing.assert_allclose(their_losses, losses, rtol=1e-5)


@each_family
def test_what_does_not_fit_is_refused_before_anything_is_written(family, tmp_path):
    """A length beyond the positions (RoBERTa's table has more rows), a vocabulary too small."""
    scheme, tokenizer = LabelScheme.from_types(["LOC", "PER"]), tiny_tokenizer()
    corpus = write_conll(tmp_path / "train.conll", sentences(4))

    def fault(folder, vocabulary, max_length):
        model = family.model(labels=len(scheme), vocab_size=vocabulary)
        params = {path: np.zeros(leaf.shape, leaf.dtype) for path, leaf in model.shapes.items()}
        export_folder(folder, model, params, scheme, tokenizer)
        out = tmp_path / "out"
        config = TrainConfig(
            model=str(folder), train_file=str(corpus), output_dir=str(out), max_length=max_length
        )
        with pytest.raises(ValueError) as caught:
            train(config, console=Console(quiet=True))
        assert not out.exists()
        return str(caught.value)

    positions = family.model().config.positions
    size = len(tokenizer)
    told = fault(tmp_path / "short", size, positions + 1)
    assert told == f"max_length must be at most the model's {positions} positions: {positions + 1}"
    assert f"has {size} entries" in fault(tmp_path / "small", size - 1, positions)
