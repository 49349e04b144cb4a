"""The row length that training chooses on a CPU where the settings leave it open."""

import json
import tomllib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaxner.config.files import load_settings
from flaxner.config.toml import HEADING
from flaxner.config.train import TrainConfig
from flaxner.data.batches import TrainBatches
from flaxner.data.layout import best_row_length
from flaxner.runs.folder import RunFolder
from flaxner.training.fingerprint import as_begun
from flaxner.training.preparation import prepare, reseeded
from flaxner.training.shared import Shared
from tests.conll import quick_settings
from tests.runs import start
from tests.tiny import random_segments

# 20 sentences of about 23 tokens need 7.2 rows of 64, so 8; 32 fill their rows.
WORDS = [f"w{n}" for n in range(30)]
SENTENCES = 300
FOLD = {"fold-1/config.toml": f"{HEADING}\nrow_length = 72\n", "fold-1/checkpoints/1": ""}


def segments(lengths):
    return random_segments(np.random.default_rng(0), list(lengths))


def batches(corpus, batch_size, row_length, multiple=1):
    return TrainBatches(corpus, batch_size, row_length, 1, 0, multiple, level=True)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    rng, file = np.random.default_rng(0), folder / "own.conll"
    with file.open("w") as out:
        for _ in range(SENTENCES):
            words = rng.choice(WORDS, rng.integers(4, 40)).tolist()
            out.writelines(f"{word} {'B-PER' if word < 'w2' else 'O'}\n" for word in words)
            out.write("\n")
    alone = {"train_file": str(file), "validation_file": None, "test_file": None}
    return {**quick_settings(folder), **alone, "max_length": 64, "batch_size": 20}


@given(
    lengths=st.lists(st.integers(3, 64), max_size=90),
    batch_size=st.integers(1, 40),
    shortest=st.integers(64, 130),
    multiple=st.sampled_from([1, 2, 8]),
)
def test_a_longer_row_is_a_multiple_of_eight(lengths, batch_size, shortest, multiple):
    chosen = best_row_length(segments(lengths), batch_size, shortest, multiple)
    assert chosen == shortest or (chosen % 8 == 0 and shortest < chosen <= 2 * shortest)


@pytest.mark.parametrize("mean", range(15, 24))
@pytest.mark.parametrize(("batch_size", "multiple"), [(8, 1), (16, 1), (32, 1), (32, 8), (64, 8)])
def test_longer_rows_leave_less_empty(mean, batch_size, multiple):
    lengths = np.random.default_rng(0).gamma(3, mean / 3, 3200).astype(int).clip(3, 120)
    corpus = segments(lengths)
    chosen = best_row_length(corpus, batch_size, 128, multiple)
    before, after = (batches(corpus, batch_size, n, multiple).fill() for n in (128, chosen))
    assert chosen == 128 or after > before + 0.03
    assert after > 0.8 or (batch_size, multiple) == (8, 1) or mean * batch_size < 128 * multiple


def test_many_rows_stay_as_they_are():
    lengths = np.random.default_rng(0).gamma(3, 7, 3200).astype(int).clip(3, 120)
    assert best_row_length(segments(lengths), 32, 128) == 136
    assert best_row_length(segments(lengths), 400, 128) == 128


def test_training_chooses_only_what_is_left_open(settings):
    config = TrainConfig(**settings)
    prepared = prepare(config)
    assert prepared.config.row_length > 64
    assert (
        reseeded(prepared, config.replace(seed=3)).config.row_length == prepared.config.row_length
    )
    assert reseeded(prepared, config.replace(batch_size=32)).config.row_length == 64
    for changes, kept in (
        ({"row_length": 72}, 72),
        ({"batches": "shuffled"}, 64),
        ({"context": "document", "max_length": 128}, 128),
    ):
        assert prepare(config.replace(**changes)).config.row_length == kept


def test_tpus_and_gpus_keep_rows_of_the_maximum_length(settings, monkeypatch):
    monkeypatch.setattr("flaxner.training.preparation.jax.default_backend", lambda: "tpu")
    assert prepare(TrainConfig(**settings, precision="float32")).config.row_length == 64


def test_other_rows_get_a_program_of_their_own(settings):
    """A CRF's arrays are as wide as the words that rows can hold."""
    shared, config = Shared(), TrainConfig(**settings, decoder="crf")
    for size in (20, 32):
        program, made = shared.compute(shared.prepared(config.replace(batch_size=size)))
        arrays = program.arrays(made.at(0))
        assert {len(array) for array in arrays.values()} == {made.shapes[-1]}
        assert arrays["labels"].shape[1] == made.row_length


@pytest.mark.parametrize(
    ("files", "kept"),
    [
        ({"config.toml": "max_length = 64\nrow_length = 88\n"}, 88),
        ({"config.toml": "row_length = 0\n", **FOLD}, 72),
        ({"config.toml": "max_length = 32\nrow_length = 40\n"}, 0),  # refused as another max_length
        ({}, 0),
    ],
)
def test_a_resumed_run_keeps_its_row_length(tmp_path, files, kept):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    config = TrainConfig(train_file="x.conll", max_length=64, resume=True)
    run = RunFolder(tmp_path)
    assert as_begun(config, run).row_length == kept
    assert as_begun(config.replace(row_length=96), run).row_length == 96
    assert as_begun(config.replace(resume=False), run).row_length == 0


def test_a_run_with_other_rows_is_resumed_as_it_began(settings, tmp_path):
    """What a run on a machine of another kind began."""
    begun = start(settings, tmp_path, row_length=80, epochs=1.0)
    (begun.output_dir / "results.json").unlink()
    resumed = start(settings, tmp_path, epochs=1.0, resume=True)
    assert load_settings(resumed.output_dir / "config.toml")["row_length"] == 80


def test_folds_have_rows_of_one_length(settings, tmp_path):
    start(settings, tmp_path, cross_validation=2, epochs=1.0)
    folds = [tomllib.loads((tmp_path / f"fold-{n}/config.toml").read_text()) for n in (1, 2)]
    assert folds[0]["row_length"] == folds[1]["row_length"]
    assert json.loads((tmp_path / "results.json").read_text())["folds"] == 2
