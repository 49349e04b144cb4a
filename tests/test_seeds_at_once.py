"""Seeds that train in one step: each is its single run to rounding, and goes on bit for bit."""

import io
import json
import os
import shutil
import signal

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import load_file

from flaxner.config.train import TrainConfig
from flaxner.training.loop import Loop
from flaxner.training.run import train
from flaxner.training.stopping import RunStopped
from tests.conll import QUICK, sentences, write_conll

SEEDS = {"seed": 3, "seeds": 2}
TOGETHER = {**SEEDS, "seeds_at_once": 2}
# Adam divides by the root of the mean square: where a gradient is all rounding, so is its step,
# which is as long as any other. In float32, six steps at 2e-3.
NEAR = 1e-4


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    files = {"train": sentences(24), "validation": sentences(12, 1), "test": sentences(12, 2)}
    return {
        **{f"{k}_file": str(write_conll(folder / f"{k}.conll", v)) for k, v in files.items()},
        **QUICK,
        "epochs": 2.0,
    }


def start(settings, folder, **changes):
    """The result, and what was printed."""
    console = Console(file=io.StringIO(), width=500)
    config = TrainConfig(**{**settings, "output_dir": str(folder), **changes})
    return train(config, console=console), console.file.getvalue()


def weights(folder):
    return load_file(folder / "hub" / "model.safetensors")


def furthest(here, there):
    """The largest difference of two runs' weights."""
    ours, theirs = weights(here), weights(there)
    assert ours.keys() == theirs.keys()
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours)


@pytest.fixture(scope="module")
def alone(settings, tmp_path_factory):
    return start(settings, tmp_path_factory.mktemp("runs") / "alone", **SEEDS)


@pytest.fixture(scope="module")
def together(settings, tmp_path_factory):
    return start(settings, tmp_path_factory.mktemp("runs") / "together", **TOGETHER)


def test_each_seed_is_its_single_run_to_rounding(alone, together):
    for seed in ("seed-3", "seed-4"):
        there, here = alone[0].output_dir / seed, together[0].output_dir / seed
        assert furthest(there, here) < NEAR
        mine, its = (
            [json.loads(line) for line in (f / "metrics.jsonl").open()] for f in (here, there)
        )
        assert [line.keys() for line in mine] == [line.keys() for line in its]
        for name in ("loss", "grad_norm", "words", "tokens", "learning_rate"):
            values = [[line[name] for line in lines if name in line] for lines in (mine, its)]
            assert len(values[0]) == 6
            np.testing.assert_allclose(*values, rtol=1e-5)
    assert furthest(together[0].output_dir / "seed-3", together[0].output_dir / "seed-4") > 0.01
    assert "2 seeds in one step (" in together[1]
    own = json.loads((together[0].output_dir / "seed-4" / "results.json").read_text())
    assert own["train"]["seeds_at_once"] == 2
    assert 0 < own["train"]["fill"] < 1
    assert together[0].results["seeds"] == [3, 4]


def stopped_at(settings, folder, monkeypatch, name, **changes):
    """A run that is asked to stop when the seed in `name` has saved its first state."""
    save, sent = Loop._save, []

    def stopping(self, step, *args):
        save(self, step, *args)
        if self.run.path.name == name and not sent:
            sent.append(step)
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_save", stopping)
        with pytest.raises(RunStopped, match=r"config\.toml --resume") as error:
            start(settings, folder, **{**TOGETHER, **changes})
    assert error.value.code == 75
    assert not list(folder.glob("**/results.json"))


@pytest.mark.parametrize("name", ["seed-3", "seed-4"])
def test_stopped_in_the_middle_it_goes_on_to_the_same_bits(
    name, together, settings, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    stopped_at(settings, out, monkeypatch, name)
    if name == "seed-4":  # it was killed before it had saved what the other has
        steps = sorted((out / "seed-4" / "checkpoints").iterdir(), key=lambda p: int(p.name))
        assert [p.name for p in steps] == ["3", "4"]
        shutil.rmtree(steps[-1])
    result, told = start(settings, out, **TOGETHER, resume=True)
    assert told.count("resuming from step ") == 2
    for folder in ("seed-3", "seed-4"):
        assert furthest(out / folder, together[0].output_dir / folder) == 0
    for split in ("validation", "test"):
        assert result.results[split] == together[0].results[split]
    _, told = start(settings, out, **TOGETHER, resume=True)
    assert told.count("has ended: nothing is left to do") == 2
    assert "in one step" not in told
