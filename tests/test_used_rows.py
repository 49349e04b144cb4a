"""Training only the word-table rows that the corpus uses equals training all of them."""

import os
import signal

import jax
import numpy as np
import pytest

from flaxner.config.train import TrainConfig
from flaxner.data.batches import TrainBatches
from flaxner.devices.mesh import place_batch
from flaxner.runs.checkpoint import Checkpoints, Progress
from flaxner.training import used_rows
from flaxner.training.loop import Loop
from flaxner.training.program import Program, make_program
from flaxner.training.stopping import RunStopped
from flaxner.training.used_rows import restored
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
        self.batches = TrainBatches(self.segments, 16, 24, 5, 0, multiple=8)
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

    def start(self):
        return self.program.init(self.params)

    def train(self, state, first=0, last=STEPS):
        for step in range(first, last):
            arrays = self.program.arrays(self.batches.at(step))
            state, _ = self.program.steps.train(state, place_batch(arrays, self.program.mesh))
        return state


def host(params):
    return {path: np.asarray(value) for path, value in params.items()}


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
    table = np.asarray(ours.params[used.path])
    unread = np.setdiff1d(np.arange(VOCABULARY), used.rows)
    assert (np.abs(table[unread]) < np.abs(some.params[used.path][unread])).all()  # decayed
    assert_close("optimizer", host(ours.params), host(theirs.params))
    mu = theirs.opt_state.mu[used.path]
    assert not np.asarray(mu)[unread].any()
    assert ours.opt_state.mu[used.path].shape == (24, mu.shape[1])


@pytest.mark.parametrize("family", BERT_AND_SLOW)
def test_eight_devices_and_clipping(family):
    one, whole = Run(family, used=True), Run(family, used=False)
    many = Run(family, used=True, devices=8, fsdp=4)
    spread, alone = many.train(many.start()), one.train(one.start())
    assert_close("optimizer", host(alone.params), host(whole.train(whole.start()).params))
    scaled_close("optimizer", host(spread.params), host(alone.params))


def test_a_checkpoint_of_all_rows_can_be_resumed(tmp_path):
    """One from a version that kept moments of all rows; one of the used rows resumes exactly."""
    some, whole = (Run(FAMILIES["bert"], used=used) for used in (True, False))
    complete = some.train(some.start())
    for name, run in (("some", some), ("whole", whole)):
        checkpoints = Checkpoints(tmp_path / name)
        checkpoints.save(run.train(run.start(), 0, HALF), Progress(), {})
        checkpoints.wait()
        state = restored(checkpoints, HALF, some.start(), some.program.used)
        checkpoints.close()
        end = some.train(state, HALF)
        compared = "exact" if name == "some" else "optimizer"
        assert_close(compared, host(end.params), host(complete.params))


def test_a_batch_of_other_words_is_refused():
    run = Run(FAMILIES["bert"], used=True)
    rows = run.batches.at(0)
    other = rows._replace(input_ids=np.full_like(rows.input_ids, VOCABULARY - 1))
    with pytest.raises(ValueError, match="a batch reads a row of embeddings/word_embeddings"):
        run.program.arrays(other)


def test_a_fully_used_table_is_trained_whole():
    run = Run(FAMILIES["bert"], used=True)
    ids = np.arange(VOCABULARY, dtype=np.int32)
    assert used_rows.used_rows("x", VOCABULARY, ids, 0.0) is None
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
