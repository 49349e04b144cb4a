"""Every family's training: eight devices train as one does, and a resumed run is the same run."""

import jax
import numpy as np

from flaxner.data.batches import TrainBatches
from flaxner.devices.mesh import make_mesh, place_batch
from flaxner.runs.checkpoint import Checkpoints, Progress
from flaxner.training.loss import Softmax
from flaxner.training.optimizer import linear_schedule, make_optimizer
from flaxner.training.step import INPUTS, init_state, make_steps
from tests.compare import assert_close, scaled_close
from tests.families import each_network
from tests.tiny import random_segments

STEPS, HALF = 20, 10


class Run:
    """Some steps of a family's training, on so many devices."""

    def __init__(self, family, devices=1, fsdp=1):
        self.model, self.mesh = (
            family.model(initializer_range=0.1),
            make_mesh(fsdp, jax.devices()[:devices]),
        )
        lengths = np.random.default_rng(3).integers(3, 20, 64)
        segments = random_segments(np.random.default_rng(4), lengths)
        self.batches = TrainBatches(segments, 16, 24, 5, 0, multiple=8)
        schedule = linear_schedule(1e-3, STEPS, 0.1)
        self.optimizer = make_optimizer(schedule)
        self.steps = make_steps(self.model, Softmax(), self.optimizer, schedule, self.mesh, seed=0)

    def start(self):
        return init_state(self.model.init(0), self.optimizer, self.mesh)

    def train(self, state, first, last):
        """The state after the steps from first to last, and their losses."""
        losses = []
        for step in range(first, last):
            rows = self.batches.at(step)
            batch = place_batch({n: getattr(rows, n) for n in (*INPUTS, "labels")}, self.mesh)
            state, metrics = self.steps.train(state, batch)
            losses.append(float(metrics["loss"]))
        return state, losses


def host(params):
    return {path: np.asarray(value) for path, value in params.items()}


@each_network
def test_resumed_and_on_eight_devices(family, tmp_path):
    """Dropout on: the masks, too, are those of one device and of a run never interrupted."""
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
