"""The contents of a checkpoint, for those who read it with Orbax and without flaxner."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from flaxner.runs import checkpoint
from flaxner.runs.checkpoint import Checkpoints, Progress
from flaxner.runs.state import TrainState
from tests.conftest import ROOT

WEIGHTS = {"a/kernel": (8, 3), "b/bias": (5,), "c/whole": (6, 4)}


@pytest.fixture
def state():
    """Weights sharded over four devices, as in a run."""
    mesh = jax.make_mesh((4,), ("data",), devices=jax.devices()[:4])
    rng = np.random.default_rng(0)

    def placed(shape):
        spec = PartitionSpec("data") if shape[0] % 4 == 0 else PartitionSpec()
        return jax.device_put(rng.normal(size=shape).astype(np.float32), NamedSharding(mesh, spec))

    params = {name: placed(shape) for name, shape in WEIGHTS.items()}
    moments = {name: placed(shape) for name, shape in WEIGHTS.items()}
    step = jax.device_put(jnp.int32(7), NamedSharding(mesh, PartitionSpec()))
    return TrainState(step, params, {"mu": moments})


def save(folder, state):
    checkpoints = Checkpoints(folder)
    checkpoints.save(state, Progress(best_step=7), {"seed": 0})
    checkpoints.close()


def equal(one, other):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)


def snippets():
    text = (ROOT / "docs" / "checkpoints.md").read_text("utf-8")
    return [
        code.replace("OUT/checkpoints/STEP", "OUT/checkpoints/7")
        for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    ]


@pytest.mark.filterwarnings("error::DeprecationWarning")
def test_a_plain_orbax_call_restores_the_weights(tmp_path, state, monkeypatch):
    save(tmp_path / "OUT" / "checkpoints", state)
    monkeypatch.chdir(tmp_path)
    given = {}
    exec(snippets()[0], given)
    assert given["params"].keys() == WEIGHTS.keys()
    assert equal(given["params"], state.params)


def test_a_checkpoint_of_four_devices_is_read_on_one(tmp_path, state):
    save(tmp_path / "OUT" / "checkpoints", state)
    code = snippets()[1] + (
        "import numpy as np\n"
        "assert jax.device_count() == 1\n"
        f"np.savez({str(tmp_path / 'read.npz')!r}, "
        "**{name.replace('/', '.'): np.asarray(leaf) for name, leaf in params.items()})\n"
    )
    environment = {"JAX_PLATFORMS": "cpu", "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    read = np.load(tmp_path / "read.npz")
    assert set(read) == {name.replace("/", ".") for name in WEIGHTS}
    assert equal(dict(read), {k.replace("/", "."): v for k, v in state.params.items()})


def test_saving_small_arrays_compiles_nothing(tmp_path, state):
    """In particular, no program that slices a replicated weight for each device."""
    compiled = []

    def listen(event, seconds, **about):
        if "backend_compile" in event:
            compiled.append(about)

    checkpoints = Checkpoints(tmp_path)
    step = int(state.step)  # fetches it, as training has done by then
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        checkpoints.save(state, Progress(best_step=step), {"seed": 0})
        checkpoints.close()
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert compiled == []


@pytest.mark.parametrize("names", [("pytree", "training"), ("params", "optimizer")])
def test_older_checkpoints_are_restored(tmp_path, state, monkeypatch, names):
    with monkeypatch.context() as before:
        before.setattr(checkpoint, "PARTS", names)
        save(tmp_path, state)
    assert all((tmp_path / "7" / name).is_dir() for name in names)
    checkpoints = Checkpoints(tmp_path)
    like = jax.tree.map(jnp.zeros_like, state)
    restored = checkpoints.restore(7, like)
    assert equal(restored, state)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state.params)
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = {k: jax.ShapeDtypeStruct(v.shape, v.dtype, sharding=place) for k, v in shapes.items()}
    assert equal(checkpoints.restore_params(7, shapes), state.params)
    checkpoints.close()
