"""Check that this machine is ready: devices, a collective over all of them, twenty training steps.

Run `python -m flaxner.training.machine_check --expect tpu` on every worker of a slice at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from flaxner.config.command_line import Parser
from flaxner.config.files import load_preset
from flaxner.config.train import TrainConfig
from flaxner.devices import processes
from flaxner.devices.environment import check_devices
from flaxner.devices.mesh import batch_sharding, make_mesh, replicated
from flaxner.devices.processes import this_part
from flaxner.training.feed import feed
from flaxner.training.preparation import prepare
from flaxner.training.program import program_of_run

STEPS = 20


def sum_over_devices(expect: str) -> str:
    """Count the devices and sum over all of them.

    Raises:
      ValueError: the devices are of another kind, or the sum over them is wrong.
    """
    check_devices()
    kind = jax.default_backend()
    if kind != expect:
        raise ValueError(f"expected devices of kind {expect!r}: JAX found {kind!r}")
    mesh, part = make_mesh(), this_part()
    own = np.arange(mesh.size, dtype=np.int32)[part.index :: part.count]
    rows = jax.make_array_from_process_local_data(batch_sharding(mesh), own)
    total = int(np.asarray(jax.jit(jnp.sum, out_shardings=replicated(mesh))(rows)))
    if total != mesh.size * (mesh.size - 1) // 2:
        raise ValueError(f"the sum over {mesh.size} devices is wrong: {total}")
    device = jax.devices()[0].device_kind
    return f"{mesh.size} x {device} on {part.count} hosts; the sum over all of them is correct"


def check_training(steps: int = STEPS) -> str:
    """Run the first steps of the quickstart preset on all devices, without writing anything.

    Raises:
      ValueError: the loss does not fall.
    """
    prepared = prepare(TrainConfig(**load_preset("quickstart")))
    per_epoch = -(-prepared.segments["train"].num_sentences // prepared.config.batch_size)
    config = prepared.config.replace(epochs=steps / per_epoch)
    program, batches = program_of_run(dataclasses.replace(prepared, config=config))
    state = program.init(prepared.params)
    begin, losses = time.monotonic(), []
    with contextlib.closing(feed(batches, program, 0, steps)) as ready:
        for _, batch, _ in ready:
            state, metrics = program.steps.train(state, batch)
            losses.append(float(np.asarray(metrics["loss"])))
    if not losses[-1] < losses[0]:
        fall = f"{losses[0]:.3f} -> {losses[-1]:.3f}"
        raise ValueError(f"{steps} steps did not lower the loss: {fall}")
    seconds = time.monotonic() - begin
    return f"{steps} steps in {seconds:.1f} s; loss {losses[0]:.3f} -> {losses[-1]:.3f}"


def main() -> int:
    """Run the command line."""
    parser = Parser(prog="flaxner.training.machine_check", description=__doc__)
    parser.add_argument("--expect", choices=("tpu", "gpu", "cpu"), required=True)
    expect = parser.parse_args().expect

    def work() -> None:
        processes.start(None, 0, -1)
        print(f"devices: {sum_over_devices(expect)}")
        print(f"training: {check_training()}")

    return parser.run(work)


if __name__ == "__main__":
    sys.exit(main())
