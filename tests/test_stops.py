"""Stops at the worst moments of a run: nothing is lost, and what is missing is made up."""

import contextlib
import dataclasses
import json
import os
import signal

import jax
import numpy as np
import pytest
from rich.console import Console

from flaxner.config.train import TrainConfig
from flaxner.devices.processes import StopVote
from flaxner.files import atomic
from flaxner.publishing.conversion import SavedRun, convert
from flaxner.runs.checkpoint import Checkpoints
from flaxner.runs.folder import RunFolder
from flaxner.runs.state import TrainState
from flaxner.runs.steps import Progress
from flaxner.training.fingerprint import MODEL, fingerprint, refuse_another
from flaxner.training.loop import Loop
from flaxner.training.program import batches_of
from flaxner.training.run import train
from flaxner.training.session import stops_told
from flaxner.training.shared import Shared
from flaxner.training.stopping import Interruption, NotFinite, RunStopped
from tests import chaos
from tests.buckets import as_in_a_bucket
from tests.conll import quick_settings

LAST = 6  # step; the first of two epochs ends at step 3


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Return a function that runs a session in a folder; sessions share what is compiled."""
    settings = quick_settings(tmp_path_factory.mktemp("corpus"))
    settings |= {"average_last": 2, "select": "last"}
    shared = Shared()

    def start(folder, **changes):
        config = TrainConfig(**settings, output_dir=str(folder), **changes)
        return train(config, console=Console(quiet=True), shared=shared)

    start.shared, start.settings = shared, settings
    return start


@pytest.fixture(scope="module")
def whole(session, tmp_path_factory):
    return session(tmp_path_factory.mktemp("runs") / "whole").output_dir


def stopped(session, folder, monkeypatch, method, at, saved):
    """Run a session that gets SIGTERM when a method of its loop is called at a given step."""
    call = getattr(Loop, method)

    def signalled(self, step, *rest):
        if step == at:
            os.kill(os.getpid(), signal.SIGTERM)
        return call(self, step, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, method, signalled)
        with pytest.raises(RunStopped, match=f"SIGTERM: stopped; saved up to step {saved} in"):
            session(folder, resume=folder.exists())
    assert not (folder / "results.json").exists()


class Resumed(Loop):
    """A loop whose run resumes after its last step; records what it does."""

    def __init__(self, *, evaluated, signal_in=""):
        self.interruption, self.told = Interruption(print), []
        self._vote = StopVote(jax.make_mesh((1,), ("data",)), lambda: self.wished)
        self._made, self._signal_in = evaluated, signal_in

    @property
    def wished(self):
        return self._signal_in in self.told

    def _stepwise(self, keeper):
        self._make_up(LAST, None, None, keeper)
        yield from ()

    def _evaluate(self, *_):
        self.told.append("evaluated")
        return self._made

    def _save(self, *_):
        self.told.append("saved")

    def _stop(self, keeper):
        self.told.append("stopped")
        raise RunStopped("")

    def wait(self):
        self.told.append("waited")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"evaluated": True}, ["evaluated", "saved", "waited"]),
        ({"evaluated": False}, ["evaluated", "stopped"]),
        (
            {"evaluated": True, "signal_in": "saved"},
            ["evaluated", "saved", "waited", "stopped"],
        ),
    ],
    ids=str,
)
def test_what_the_last_session_makes_up(options, told):
    """The three cases of the runs below, without a run."""
    loop = Resumed(**options)
    with contextlib.suppress(RunStopped):
        list(loop.stepwise(loop))
    assert loop.told == told


@pytest.mark.slow
def test_a_repeatedly_interrupted_evaluation_is_made_up(session, whole, tmp_path, monkeypatch):
    """The averaged weights that it yields are the ones kept, published and converted."""
    folder = tmp_path / "run"
    for at in (3, 3, LAST, LAST):
        stopped(session, folder, monkeypatch, "_evaluate", at, at)
        assert f'"step": {at}, "epoch"' not in (folder / "metrics.jsonl").read_text()
    stopped(session, folder, monkeypatch, "_save", LAST, LAST)  # after the last check for signals
    session(folder, resume=True)
    chaos.compare(whole, folder)
    kept = [{path.name for path in (run / "checkpoints").iterdir()} for run in (whole, folder)]
    assert kept[0] == kept[1] == {"3", "6"}
    for step in SavedRun.open(whole).steps:
        mine, its = (SavedRun.open(run).params(step) for run in (folder, whole))
        assert all(np.array_equal(mine[name], its[name]) for name in its)
    convert(folder, output_dir=tmp_path / "converted")
    weights = [
        (hub / "model.safetensors").read_bytes() for hub in (tmp_path / "converted", whole / "hub")
    ]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_a_signal_after_the_last_check_stops_the_run(session, whole, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    stopped(session, folder, monkeypatch, "_save", LAST, LAST)
    session(folder, resume=True)
    chaos.compare(whole, folder)


def test_a_stop_before_training_names_its_signal(tmp_path):
    """Even if the thread that watches for signals has not read it yet."""
    run, interruption = RunFolder(tmp_path / "run"), Interruption(print)
    with (
        pytest.raises(RunStopped, match=r"^SIGTERM: stopped; nothing was written yet"),
        stops_told(run, interruption),
    ):
        interruption._raise(signal.SIGTERM, None)


def test_a_loss_that_is_not_finite_names_its_seed(tmp_path):
    """Of seeds trained at once, only the path of a checkpoint told which one, if there was any."""
    whole, seed = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run" / "seed-3")
    seed.restart = whole.config
    for run, named in ((whole, ""), (seed, "seed-3: ")):
        with (
            pytest.raises(ValueError, match=f"^{named}the loss is nan at step 7: try a lower"),
            stops_told(run, Interruption(print)),
        ):
            raise NotFinite("the loss is nan at step 7")


class Killed(BaseException):
    """Raised in place of SIGKILL."""


def state(value):
    return TrainState(np.int32(3), {"a": np.full(4, value, np.float32)}, {"m": np.zeros(4)})


def saved(folder):
    """Return the value and best step kept for step 3, as the next session finds them."""
    checkpoints = Checkpoints(folder)
    assert checkpoints.newest_whole(print) == 3
    value = checkpoints.restore(3, jax.tree.map(jax.numpy.asarray, state(0))).params["a"][0]
    progress, _ = checkpoints.describe(3)
    checkpoints.close()
    assert [path.name for path in folder.iterdir()] == ["3"]
    return float(value), progress.best_step


@pytest.mark.parametrize("renames", [1, 2, 5, None], ids=str)
def test_a_step_saved_again_is_never_missing(tmp_path, monkeypatch, renames):
    """Killed before it is complete, when the old one is gone, halfway: as in a mounted bucket.

    The first two renames are those of run.json and of the manifest.
    """
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1), Progress(), {})
    checkpoints.close()
    checkpoints = Checkpoints(tmp_path)
    checkpoints.restore(3, jax.tree.map(jax.numpy.asarray, state(0)))
    with monkeypatch.context() as patched:
        as_in_a_bucket(patched)
        if renames is not None:
            patched.setattr(atomic, "os", Dying(renames))
        checkpoints.save(state(2), Progress(best_step=3), {})
        if renames is None:
            checkpoints.wait()
        else:
            checkpoints._sealing.join()
        assert saved(tmp_path) == ((1.0, -1) if renames == 1 else (2.0, 3))


class Dying:
    """Stands in for the module `os`, in which only so many files can be renamed, then once more.

    Whoever was killed is not there to rename anything; the next session is.
    """

    def __init__(self, renames):
        self._left = renames

    def __getattr__(self, name):
        return getattr(os, name)

    def replace(self, one, other):
        self._left -= 1
        if self._left == -1:
            raise Killed
        os.replace(one, other)


def test_a_changed_config_json_of_the_model_is_refused(session, tmp_path):
    prepared = session.shared.prepared(TrainConfig(**session.settings, output_dir=str(tmp_path)))
    batches = batches_of(prepared)
    theirs = json.loads(json.dumps(fingerprint(prepared, batches)))
    refuse_another(tmp_path, fingerprint(prepared, batches), theirs)
    changed = dataclasses.replace(prepared.model.config, hidden_act="relu", layer_norm_eps=1e-3)
    model = dataclasses.replace(prepared.model, config=changed)
    ours = fingerprint(dataclasses.replace(prepared, model=model), batches)
    message = (
        "hidden_act in the model's config.json differs: 'gelu' before, 'relu' now; "
        "layer_norm_eps in the model's config.json differs: 1e-12 before, 0.001 now"
    )
    with pytest.raises(ValueError, match=message):
        refuse_another(tmp_path, ours, theirs)
    del theirs[MODEL]["hidden_act"], theirs[MODEL]["layer_norm_eps"]
    refuse_another(tmp_path, ours, theirs)  # a version that recorded neither
    del theirs[MODEL]
    refuse_another(tmp_path, ours, theirs)


def test_a_data_set_can_be_pinned_when_a_run_is_resumed(session, tmp_path):
    """Corpora are compared by content, and earlier versions recorded the revision as well."""
    prepared = session.shared.prepared(TrainConfig(**session.settings, output_dir=str(tmp_path)))
    batches = batches_of(prepared)
    theirs = json.loads(json.dumps(fingerprint(prepared, batches))) | {"dataset_revision": None}
    pinned = prepared.config.replace(dataset_revision="5e1d")
    ours = fingerprint(dataclasses.replace(prepared, config=pinned), batches)
    refuse_another(tmp_path, ours, theirs)
    refuse_another(tmp_path, ours, theirs | {"dataset_revision": "9c2f"})
