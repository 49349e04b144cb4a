"""Seeds trained in one step: each equals its single run up to rounding and resumes bit for bit."""

import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from flaxner.config.train import TrainConfig
from flaxner.data.batches import TrainBatches
from flaxner.devices.mesh import place_batch
from flaxner.models.encoders import ENCODERS
from flaxner.models.layers.compute import Compute
from flaxner.models.network import Model
from flaxner.training import together
from flaxner.training.feed import PlacedBatch
from flaxner.training.lockstep import run_together
from flaxner.training.loop import Loop
from flaxner.training.preparation import prepare, reseeded
from flaxner.training.program import make_program
from flaxner.training.seeds import in_groups
from flaxner.training.stack import Stack, StackedPlan, StackedProgram
from flaxner.training.step import INPUTS
from flaxner.training.stopping import RunStopped
from flaxner.training.together import Stacks, at_once
from tests.conll import quick_settings, sentences, write_conll
from tests.runs import start_and_read as start
from tests.tiny import random_segments, tiny_config

SEEDS = {"seed": 3, "seeds": 2}
TOGETHER = {**SEEDS, "seeds_at_once": 2}
# Adam divides by the root mean square: a gradient that is only rounding noise still causes a step
# of full length. For float32 and six steps at 2e-3.
NEAR = 1e-4


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return quick_settings(tmp_path_factory.mktemp("corpus"))


def weights(folder):
    return load_file(folder / "hub" / "model.safetensors")


def furthest(here, there):
    """Return the largest difference between the weights of two runs."""
    ours, theirs = weights(here), weights(there)
    assert ours.keys() == theirs.keys()
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in ours)


@pytest.fixture(scope="module")
def alone(settings, tmp_path_factory):
    return start(settings, tmp_path_factory.mktemp("runs") / "alone", **SEEDS)


@pytest.fixture(scope="module")
def stacked(settings, tmp_path_factory):
    return start(settings, tmp_path_factory.mktemp("runs") / "together", **TOGETHER)


def test_each_seed_equals_its_single_run_up_to_rounding(alone, stacked):
    for seed in ("seed-3", "seed-4"):
        there, here = alone[0].output_dir / seed, stacked[0].output_dir / seed
        assert furthest(there, here) < NEAR
        mine, its = (
            [json.loads(line) for line in (f / "metrics.jsonl").open()] for f in (here, there)
        )
        assert [line.keys() for line in mine] == [line.keys() for line in its]
        for name in ("loss", "grad_norm", "words", "tokens", "learning_rate"):
            values = [[line[name] for line in lines if name in line] for lines in (mine, its)]
            assert len(values[0]) == 6
            np.testing.assert_allclose(*values, rtol=1e-5)
    assert furthest(stacked[0].output_dir / "seed-3", stacked[0].output_dir / "seed-4") > 0.01
    assert "2 seeds in one step (" in stacked[1]
    own = json.loads((stacked[0].output_dir / "seed-4" / "results.json").read_text())
    assert own["train"]["seeds_at_once"] == 2
    assert 0 < own["train"]["fill"] < 1
    assert stacked[0].results["seeds"] == [3, 4]


def stopped_at(settings, folder, monkeypatch, name, **changes):
    """Run until the seed in `name` has saved its first state, then stop by SIGTERM."""
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


@pytest.mark.parametrize("name", [pytest.param("seed-3", marks=pytest.mark.slow), "seed-4"])
def test_stopped_in_the_middle_it_resumes_to_the_same_bits(
    name, stacked, settings, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    stopped_at(settings, out, monkeypatch, name)
    if name == "seed-4":  # as if killed before it saved what the other has
        steps = sorted((out / "seed-4" / "checkpoints").iterdir(), key=lambda p: int(p.name))
        assert [p.name for p in steps] == ["3", "4"]
        shutil.rmtree(steps[-1])
    result, told = start(settings, out, **TOGETHER, resume=True)
    assert told.count("resuming from step ") == 2
    for folder in ("seed-3", "seed-4"):
        assert furthest(out / folder, stacked[0].output_dir / folder) == 0
    for split in ("validation", "test"):
        assert result.results[split] == stacked[0].results[split]
    _, told = start(settings, out, **TOGETHER, resume=True)
    assert told.count("has finished: nothing left to do") == 2
    assert "in one step" not in told


@pytest.mark.slow
def test_a_recipe_gives_the_same_results_as_in_single_runs(settings, tmp_path):
    recipe = {"decoder": "crf", "average_last": 2, "early_stopping": 1, "epochs": 4.0}
    one, _ = start(settings, tmp_path / "alone", **SEEDS, **recipe)
    both, told = start(settings, tmp_path / "together", **TOGETHER, **recipe)
    assert "stopping early" in told
    for seed in ("seed-3", "seed-4"):
        assert furthest(one.output_dir / seed, both.output_dir / seed) < NEAR
        parts = [
            json.loads((run.output_dir / seed / "results.json").read_text())["train"]
            for run in (one, both)
        ]
        assert parts[0]["steps"] == parts[1]["steps"]
        assert parts[0]["best_step"] == parts[1]["best_step"]


def test_another_seed_starts_as_its_single_run_does(stacked, settings, tmp_path):
    frames = [(words, [tag.replace("PER", "HUM") for tag in tags]) for words, tags in sentences(24)]
    renamed = str(write_conll(tmp_path / "train.conll", frames))
    for model in ("flaxner:tiny", str(stacked[0].hub_dir)):  # the second gets a new head
        config = TrainConfig(model=model, train_file=renamed, max_length=32, segment_cache="")
        first, single = prepare(config), prepare(config.replace(seed=7))
        other = reseeded(first, config.replace(seed=7))
        assert other.config == single.config
        drawn = [path for path in single.params if path.endswith("classifier/kernel")]
        assert len(drawn) == 1
        assert np.any(first.params[drawn[0]] != single.params[drawn[0]])
        jax.tree.map(np.testing.assert_array_equal, other.params, single.params)


STEPS, PAIR = 2, (3, 4)
RATES = TrainConfig(train_file="x", learning_rate=2e-3, warmup_ratio=0.0)


@pytest.fixture(scope="module")
def single():
    """A program on one device, and batches of two seeds that need different numbers of rows."""
    model = Model(tiny_config(num_hidden_layers=1), Compute())
    segments = random_segments(np.random.default_rng(0), [5, 9, 30, 12, 7, 28, 14, 3] * 4)
    batches = [TrainBatches(segments, 6, 32, 2.0, seed) for seed in PAIR]
    program = make_program(RATES, model, batches[0].num_steps, devices=jax.devices()[:1])
    return program, StackedProgram(program, 2), batches


def test_rows_added_for_another_seed_change_nothing(single):
    program, stacked, batches = single
    plan = StackedPlan(batches)
    each = [plan.of(own) for own in batches]
    fed = [[own.at(step) for step in range(STEPS)] for own in each]
    assert all(len(a.labels) == len(b.labels) for a, b in zip(*fed, strict=True))
    plain = [[own.at(step) for step in range(STEPS)] for own in batches]
    rows = [[len(made.labels) for made in own] for own in plain]
    assert rows[0] != rows[1]
    assert len(plan.shapes) <= 3
    stack = Stack(stacked, PAIR)
    states = [program.init(program.model.init(seed)) for seed in PAIR]
    for index in range(2):
        stack.held(index).state = states[index]
    for step in range(STEPS):
        for index, seed in enumerate(PAIR):
            own = program.of_run(RATES.replace(seed=seed), batches[0].num_steps).steps
            batch = place_batch(program.arrays(plain[index][step]), program.mesh)
            states[index], metrics = own.train(states[index], batch)
            if index == 0:
                first = float(metrics["loss"])
        both = [place_batch(program.arrays(own[step]), program.mesh) for own in fed]
        made = stack.train(both, [True, True])
        assert float(made[0]["loss"]) == pytest.approx(first, rel=1e-5)
        assert float(made[1]["loss"]) == pytest.approx(float(metrics["loss"]), rel=1e-5)
    for index in range(2):
        state = stack.get(index)
        assert int(state.step) == STEPS
        for path, value in states[index].params.items():
            np.testing.assert_allclose(state.params[path], value, atol=NEAR, err_msg=path)


def test_an_inactive_seed_keeps_its_bits(single):
    program, stacked, batches = single
    each = [StackedPlan(batches).of(own) for own in batches]
    stack = Stack(stacked, PAIR)
    for index, seed in enumerate(PAIR):
        stack.put(index, program.init(program.model.init(seed)))
    before = stack.get(1)
    batch = place_batch(program.arrays(each[0].at(0)), program.mesh)
    stack.train([batch, batch], [True, False])
    after = stack.get(1)
    jax.tree.map(np.testing.assert_array_equal, before, after)
    assert int(stack.get(0).step) == 1


class Steps:
    """A run that logs its steps and, if asked to, stops after one of them."""

    def __init__(self, name, first, last, log, stop=None):
        self.name, self.first, self.last, self.log, self.stop = name, first, last, log, stop

    def work(self):
        for step in range(self.first, self.last):
            metrics = yield PlacedBatch(step, {"of": self.name}, 1)
            self.log.append((self.name, step, metrics["of"]))
            if step == self.stop:
                raise RunStopped(f"{self.name} stopped")
        yield None
        self.log.append((self.name, "ends"))
        return self.name


class Told:
    """A stack that returns each run's own batch as its metrics."""

    def train(self, batches, active):
        assert len(batches) == len(active)
        return [dict(batch) if on else None for batch, on in zip(batches, active, strict=True)]


def test_runs_behind_go_first_and_none_ends_before_all_are_trained():
    log = []
    runs = [Steps("a", 2, 4, log), Steps("b", 0, 3, log), Steps("c", 4, 4, log)]
    assert run_together([run.work() for run in runs], Told()) == ["a", "b", "c"]
    assert log == [
        *[("b", 0, "b"), ("b", 1, "b"), ("a", 2, "a"), ("b", 2, "b"), ("a", 3, "a")],
        *[("a", "ends"), ("b", "ends"), ("c", "ends")],
    ]


def test_a_stop_waits_until_every_run_has_saved():
    log = []
    runs = [Steps("a", 0, 4, log, stop=2), Steps("b", 0, 4, log, stop=1), Steps("c", 3, 3, log)]
    with pytest.raises(RunStopped, match="b stopped"):
        run_together([run.work() for run in runs], Told())
    assert log == [("a", 0, "a"), ("b", 0, "b"), ("a", 1, "a"), ("b", 1, "b"), ("a", 2, "a")]


class Sizes(Stacks):
    """A seed's state takes 1 GiB and a step 1 GiB more; the compiler refuses more than 64 seeds."""

    state, table, rows_first = 1 << 30, 0, True

    def __init__(self):
        self.tried = []

    def needs(self, size):
        self.tried.append(size)
        return None if size > 64 else 2 * size << 30


def test_how_many_train_at_once(monkeypatch):
    sizes = Sizes()

    def chosen(room, platform="gpu", **changes):
        sizes.tried = []
        monkeypatch.setattr(together, "memory_of", lambda _: room and int(room * 2**30))
        monkeypatch.setattr(jax, "default_backend", lambda: platform)
        return at_once(TrainConfig(train_file="x", **{"seeds": 5, **changes}), lambda: sizes)

    assert chosen(80) == (5, "5 seeds in one step (12.00 of 80.00 GiB per device)")
    assert chosen(80, "cpu")[0] == 1
    assert chosen(80, "cpu", seeds_at_once=5)[0] == 5
    assert chosen(80, seeds_at_once=9)[0] == 5
    assert chosen(1, seeds_at_once=1)[0] == 1
    assert sizes.tried == []
    assert chosen(None) == (5, "5 seeds in one step; the memory of a device is unknown")
    size, why = chosen(9.5)
    assert size == 3
    assert (
        why == "5 seeds in one step do not fit (at least 12.00 of 9.50 GiB per device): 3 at a time"
    )
    with pytest.raises(ValueError, match=r"5 does not fit: it needs.*; --seeds-at-once 3 fits$"):
        chosen(9.5, seeds_at_once=5)
    with pytest.raises(ValueError, match=r"--seeds-at-once 1 fits$"):
        chosen(2, seeds_at_once=5)
    assert sizes.tried == []  # the states alone are too large: nothing was compiled
    assert chosen(80, seeds=70)[0] == 37
    assert sizes.tried == [70, 52, 37]
    assert chosen(9)[0] == 3
    monkeypatch.setattr(Sizes, "table", 1 << 30)  # of the seed that evaluates
    assert chosen(80) == (5, "5 seeds in one step (13.00 of 80.00 GiB per device)")
    assert chosen(9)[0] == 2
    monkeypatch.setattr(Sizes, "table", 0)
    sizes.rows_first = False
    assert chosen(80)[0] == 1
    assert "--seeds-at-once" not in chosen(80, "cpu")[1]  # it would be refused
    with pytest.raises(ValueError, match="--seeds-at-once 5 is not possible: dropout in this"):
        chosen(80, seeds_at_once=5)


@pytest.mark.parametrize("kind", ["bert", pytest.param("deberta", marks=pytest.mark.slow)])
def test_families_declare_whether_dropout_depends_on_the_number_of_rows(kind):
    family = ENCODERS[kind]
    tiny = {**family.tiny, "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 1}
    model = Model(family.config.from_hf({"model_type": kind, **tiny}, 5), Compute())
    segments = random_segments(np.random.default_rng(0), [30, 28])
    batches = TrainBatches(segments, 2, 32, 1.0, 0)
    params, key, logits = model.init(0), jax.random.key(1), []
    for total in (2, 4):
        rows = batches.at(0, total=total)
        arrays = (getattr(rows, name) for name in INPUTS)
        logits.append(np.asarray(model.apply(params, *arrays, dropout_key=key))[:2])
    labelled = rows.labels[:2] >= 0
    same = np.allclose(logits[0][labelled], logits[1][labelled], atol=1e-5)
    assert same == family.rows_first


@pytest.mark.parametrize(
    ("seeds", "size", "sizes"), [(5, 5, [5]), (5, 3, [3, 2]), (7, 3, [3, 2, 2])]
)
def test_groups_have_even_sizes(seeds, size, sizes):
    members = list(range(seeds))
    groups = in_groups(members, size)
    assert [len(group) for group in groups] == sizes
    assert [member for group in groups for member in group] == members


def test_a_single_run_refuses_seeds_at_once():
    with pytest.raises(ValueError, match="--seeds-at-once 2 needs several seeds: set --seeds"):
        TrainConfig(train_file="x", seeds_at_once=2)
    with pytest.raises(ValueError, match="seeds_at_once must be at least 0: got -1"):
        TrainConfig(train_file="x", seeds=2, seeds_at_once=-1)
