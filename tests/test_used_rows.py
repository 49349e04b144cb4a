"""Training only the word-table rows that the corpus uses equals training all of them."""

import functools
import os
import signal

import jax
import numpy as np
import pytest

from flaxner.config.train import TrainConfig
from flaxner.data.batches import TrainBatches
from flaxner.devices.mesh import place_batch, place_tree
from flaxner.runs.checkpoint import Checkpoints, Progress
from flaxner.training import used_rows
from flaxner.training.loop import Loop
from flaxner.training.program import Program, make_program
from flaxner.training.stopping import RunStopped
from tests.compare import assert_close, scaled_close
from tests.conll import QUICK, sentences, write_conll
from tests.families import FAMILIES, LEADS, each_family
from tests.runs import start
from tests.tiny import random_segments

STEPS, HALF = 8, 4
VOCABULARY, READ = 99, 20


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(used_rows, "STEP", 8)


class Run:
    """Some training steps on a corpus of few words, with all rows or only the used ones."""

    def __init__(self, family, *, used, devices=1, fsdp=1, **settings):
        model = family.model(initializer_range=0.1, vocab_size=VOCABULARY)
        lengths = np.random.default_rng(3).integers(3, 20, 64)
        self.segments = random_segments(np.random.default_rng(4), lengths, vocab=READ)
        # all of 16 rows, so that each step compiles once
        self.batches = TrainBatches(self.segments, 16, 24, 5, 0, multiple=16)
        config = TrainConfig(
            train_file="x", learning_rate=1e-3, warmup_ratio=0.5, fsdp=fsdp, **settings
        )
        self.program: Program = make_program(
            config,
            model,
            STEPS,
            devices=jax.devices()[:devices],
            corpus=self.segments if used else None,
        )
        self.params = model.init(0)
        self.table = self.program.completing(self.params)

    def start(self):
        return self.program.init(self.params)

    def save(self, checkpoints, state):
        published = self.table.complete(state.published)
        checkpoints.save(state, Progress(), {}, published)
        checkpoints.wait()

    def complete(self, state):
        return host(self.table.complete(state.params))

    def train(self, state, first=0, last=STEPS):
        for step in range(first, last):
            arrays = self.program.arrays(self.batches.at(step))
            state, _ = self.program.steps.train(state, place_batch(arrays, self.program.mesh))
        return state


def host(params):
    return {path: np.asarray(value) for path, value in params.items()}


def by_path(tree):
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


@each_family
def test_every_family_names_its_word_table(family):
    model = family.model(vocab_size=VOCABULARY)
    path = family.names.words
    assert model.shapes[path].shape[0] == VOCABULARY
    theirs = {rule.ours: rule.theirs for rule in model.rules}[path]
    assert theirs.endswith(("word_embeddings.weight", "tok_embeddings.weight"))


BERT_AND_SLOW = [
    pytest.param(family, id=name, marks=() if name == "bert" else pytest.mark.slow)
    for name, family in LEADS.items()
]


@pytest.mark.parametrize("family", BERT_AND_SLOW)
def test_training_the_used_rows_equals_training_all(family):
    settings = {"weight_decay": 0.1, "max_grad_norm": 0.0}  # a sum of fewer rows rounds differently
    some, whole = (Run(family, used=used, **settings) for used in (True, False))
    used = some.program.used
    assert (used.path, used.size) == (family.names.words, VOCABULARY)
    assert set(some.segments.input_ids) | {0} <= set(used.rows)
    assert len(used.rows) == 24
    ours, theirs = some.train(some.start()), whole.train(whole.start())
    assert ours.params[used.path].shape[0] == 24
    params = some.complete(ours)
    unread = np.setdiff1d(np.arange(VOCABULARY), used.rows)
    begun = some.params[used.path]
    assert (np.abs(params[used.path][unread]) < np.abs(begun[unread])).all()  # decayed
    assert_close("optimizer", params, host(theirs.params))
    mu = theirs.opt_state.mu[used.path]
    assert not np.asarray(mu)[unread].any()
    assert ours.opt_state.mu[used.path].shape == (24, mu.shape[1])


@pytest.mark.parametrize("family", BERT_AND_SLOW)
def test_eight_devices_and_clipping(family):
    one, whole = Run(family, used=True), Run(family, used=False)
    many = Run(family, used=True, devices=8, fsdp=4)
    spread, alone = many.train(many.start()), one.train(one.start())
    assert_close("optimizer", one.complete(alone), host(whole.train(whole.start()).params))
    scaled_close("optimizer", many.complete(spread), one.complete(alone))


def as_formerly(run, state, *, moments):
    """Return a state as earlier versions saved it: with whole tables, and perhaps whole moments."""
    used, whole = run.program.used, run.table.complete

    def spread(part):
        table = np.zeros((used.size, part[used.path].shape[1]), np.float32)
        table[used.rows] = np.asarray(part[used.path])
        return {**part, used.path: place_tree(table, whole(state.params)[used.path].sharding)}

    average = state.average
    if average is not None:
        latest = tuple(map(whole, average.get("latest", ())))
        average = {**average, "mean": whole(average["mean"])}
        average |= {"latest": latest} if latest else {}
    opt_state = state.opt_state
    if moments:
        opt_state = opt_state._replace(mu=spread(opt_state.mu), nu=spread(opt_state.nu))
    return state._replace(params=whole(state.params), opt_state=opt_state, average=average)


@functools.cache
def decaying(ema=0.0, average_last=0, devices=1, fsdp=1):
    """A run that decays fast; its programs are compiled once for all tests."""
    sizes = {"devices": devices, "fsdp": fsdp}
    averages = {"ema": ema, "average_last": average_last}
    return Run(FAMILIES["bert"], used=True, weight_decay=1.0, **averages, **sizes)


AVERAGES = [{}, {"ema": 0.9}, {"average_last": 2}, {"ema": 0.9, "devices": 8, "fsdp": 4}]


@pytest.mark.parametrize("settings", AVERAGES, ids=str)
@pytest.mark.parametrize("saved", ["now", "whole table", "whole table and moments"])
def test_a_checkpoint_of_any_version_resumes(saved, settings, tmp_path):
    run = decaying(**settings)
    half = run.program.steps.evaluated(run.train(run.start(), 0, HALF))
    begun = jax.tree.map(np.asarray, half)  # the state's memory is reused by the next step
    checkpoints = Checkpoints(tmp_path)
    if saved == "now":
        run.save(checkpoints, half)
    else:
        checkpoints.save(as_formerly(run, half, moments="moments" in saved), Progress(), {})
        checkpoints.wait()
    complete = run.train(half, HALF)
    table = run.program.completing(run.params)
    state = table.restored(checkpoints, HALF, run.start())
    checkpoints.close()
    if saved == "now":
        assert_close("exact", by_path(state), by_path(begun))
    end = host(table.complete(run.train(state, HALF).params))
    compared = "exact" if saved == "now" else "optimizer"
    assert_close(compared, end, run.complete(complete))


def test_the_base_model_may_be_replaced_before_resuming(tmp_path):
    """Its rows count at step 0 only: those that no batch reads come from the checkpoint."""
    run = decaying()
    half = run.train(run.start(), 0, HALF)
    checkpoints = Checkpoints(tmp_path)
    run.save(checkpoints, half)
    complete = run.complete(run.train(half, HALF))
    table = run.program.completing(run.program.model.init(1))
    state = table.restored(checkpoints, HALF, run.start())
    checkpoints.close()
    end = host(table.complete(run.train(state, HALF).params))
    assert_close("optimizer", end, complete)


def test_the_fraction_lost_is_exact_at_small_rates():
    """A rate of 1e-6 and a decay of 0.01 shrink a row by less than float32 resolves at 1."""
    used = used_rows.UsedRows("t", np.arange(2, dtype=np.int32), 4)
    params = used.divided({"t": np.ones((4, 3), np.float32)})
    decayed = jax.jit(used.decayed)
    for _ in range(1000):
        params = decayed(params, np.float32(1e-8))
    np.testing.assert_allclose(params[used.lost], 1 - (1 - 1e-8) ** 1000, rtol=1e-4)


def test_a_batch_of_other_words_is_refused():
    run = Run(FAMILIES["bert"], used=True)
    rows = run.batches.at(0)
    other = rows._replace(input_ids=np.full_like(rows.input_ids, VOCABULARY - 1))
    with pytest.raises(ValueError, match="a batch reads a row of embeddings/word_embeddings"):
        run.program.arrays(other)


def test_a_fully_used_table_is_trained_whole():
    run = Run(FAMILIES["bert"], used=True)
    ids = np.arange(VOCABULARY, dtype=np.int32)
    assert used_rows.used_rows("x", VOCABULARY, ids) is None
    assert run.program.used is not None


SEEDS = {"seeds": 2}
AT_ONCE = {**SEEDS, "seeds_at_once": 2}


@pytest.mark.parametrize(
    "seeds",
    [{}, *(pytest.param(more, marks=pytest.mark.slow) for more in (SEEDS, AT_ONCE))],
)
def test_a_resumed_run_is_the_same_run(seeds, tmp_path, monkeypatch):
    monkeypatch.setattr(used_rows, "MOST", 1.0)
    monkeypatch.setattr(used_rows, "STEP", 1)
    files = {"train": sentences(24), "validation": sentences(40, 1)}
    settings = {
        **{f"{k}_file": str(write_conll(tmp_path / f"{k}.conll", v)) for k, v in files.items()},
        **QUICK,
        "epochs": 2.0,
        **seeds,
    }
    programs, save, sent = [], Loop._save, []

    def stopped(self, step, *args):
        save(self, step, *args)
        programs.append(self.program)
        if not sent:
            sent.append(step)
            os.kill(os.getpid(), signal.SIGTERM)

    start(settings, tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_save", stopped)
        with pytest.raises(RunStopped):
            start(settings, tmp_path / "cut")
    assert programs[0].used is not None
    assert len(programs[0].used.rows) < programs[0].used.size
    start(settings, tmp_path / "cut", resume=True)
    weights = [(tmp_path / n / "hub/model.safetensors").read_bytes() for n in ("whole", "cut")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_seeds_begun_one_after_the_other_resume_at_once(tmp_path, monkeypatch):
    """The moments of both belong to the same rows."""
    monkeypatch.setattr(used_rows, "MOST", 1.0)
    train_file = write_conll(tmp_path / "train.conll", sentences(24))
    settings = {"train_file": str(train_file), **QUICK, "epochs": 2.0, **AT_ONCE}
    save, sent = Loop._save, []

    def stopped(self, step, *args):
        save(self, step, *args)
        if not sent:
            sent.append(step)  # of the first seed
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_save", stopped)
        with pytest.raises(RunStopped):
            start(settings, tmp_path / "out", seeds_at_once=1)
    start(settings, tmp_path / "out", resume=True)
    assert (tmp_path / "out" / "hub" / "model.safetensors").is_file()
