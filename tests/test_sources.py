"""Several sources for a split, mixed; given one or more times as flags or in TOML."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flaxner.config.command_line import parse_train_config
from flaxner.config.fields import each
from flaxner.config.train import TrainConfig
from flaxner.data.corpus import read_corpus
from flaxner.data.readers import ReadOptions
from flaxner.data.sources import read_sources
from flaxner.evaluation.classifier_scores import evaluate
from flaxner.training.preparation import load_corpora
from tests.conll import sentences, write_conll

EVALUATE = Path(__file__).resolve().parent.parent / "scripts" / "evaluate.py"


@pytest.fixture
def files(tmp_path):
    """Two training files: sentences in IOB2 columns, and a BIOES record."""
    made = sentences(4)
    record = {"tokens": ["Ann", "Lee", "slept"], "ner_tags": ["B-PER", "E-PER", "O"]}
    bioes = tmp_path / "b.jsonl"
    bioes.write_text(json.dumps(record) + "\n")
    return write_conll(tmp_path / "a.conll", made), bioes


def words(corpus):
    return [" ".join(sentence.words) for sentence in corpus]


def test_training_files_of_two_formats_are_mixed(files):
    a, b = files
    config = parse_train_config(["--train-file", str(a), "--train-file", str(b)])
    assert (config.train_file, config.dataset) == ((str(a), str(b)), None)
    mixed = load_corpora(config)["train"]
    alone = [load_corpora(TrainConfig(train_file=str(path)))["train"] for path in files]
    assert words(mixed) == words(alone[0]) + words(alone[1])
    assert (mixed.scheme, mixed.format) == ("IOB2 + BIOES", "conll + json")
    assert mixed.source == f"{a} + {b}"
    assert mixed.sentences[-1].tags == ("B-PER", "I-PER", "O")


def test_a_list_in_toml_is_read_and_written(files, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(f"train_file = {json.dumps([str(file) for file in files])}\n")
    config = parse_train_config(["--config", str(path)])
    assert each(config.train_file) == tuple(map(str, files))
    path.write_text(config.to_toml())
    assert parse_train_config(["--config", str(path)]) == config
    assert TrainConfig(train_file=[str(files[0])]) == TrainConfig(train_file=str(files[0]))


def test_data_sets_are_mixed_with_files_and_their_other_splits_replaced(files):
    a, b = map(str, files)
    config = TrainConfig(dataset=("flaxner:embedded",), train_file=b, test_file=a)
    embedded = read_sources(TrainConfig(dataset="flaxner:embedded"))
    mixed = read_sources(config)
    assert words(mixed["train"]) == [*words(embedded["train"]), "Ann Lee slept"]
    assert words(mixed["validation"]) == words(embedded["validation"])
    assert mixed["test"].source == a


def test_documents_of_mixed_files_stay_apart(tmp_path):
    for name in ("a", "b"):
        text = "-DOCSTART- O\n\nAnn B-PER\n\n-DOCSTART- O\n\nBo B-PER\n"
        (tmp_path / name).write_text(text)
    config = TrainConfig(train_file=[str(tmp_path / "a"), str(tmp_path / "b")])
    assert [s.document for s in read_sources(config)["train"]] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_file": [1]}, "train_file must be text: got 1"),
        ({"train_file": ["a", 1]}, r"train_file must be text: got \('a', 1\)"),
        ({"train_file": []}, r"train_file must be text: got \[\]"),
        ({"model": ["a", "b"], "dataset": "x"}, "model must be text"),
        (
            {"dataset": ["x", "y"], "dataset_config": ["a", "b", "c"]},
            "--dataset-config must be given once for all data sets, or once for each: got 3 for 2",
        ),
        (
            {"train_file": "x.conll", "dataset_revision": "v1"},
            "--dataset-revision applies to data sets, but there is no --dataset",
        ),
        (
            {"dataset": "flaxner:embedded", "sentence_column": "x"},
            "--sentence-column applies only to the formats datasets, json, parquet, table, whi",
        ),
        (
            {"dataset": "flaxner:embedded", "dataset_config": "x"},
            "flaxner:embedded has no configurations or revisions",
        ),
    ],
)
def test_invalid_sources_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        read_sources(TrainConfig(**settings))


def test_evaluate_accepts_the_flags_of_the_readers(files):
    command = [sys.executable, str(EVALUATE), "--model", "./nowhere", "--file", str(files[1])]
    done = subprocess.run(
        [*command, "--word-column", "nope"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr.endswith("no column 'nope'; the record has tokens, ner_tags\n")


def test_evaluate_refuses_a_column_that_its_file_cannot_have(files):
    options = ReadOptions(text_column="x")
    with pytest.raises(ValueError, match="--text-column applies only to the formats datasets, js"):
        evaluate("./nowhere", file=files[0], options=options)


def test_the_embedded_corpus_can_be_read_like_a_data_set():
    """For `evaluate.py --dataset flaxner:embedded --split test` on a quick-start model."""
    trained = read_sources(TrainConfig(dataset="flaxner:embedded"))
    for split, corpus in trained.items():
        assert read_corpus("flaxner:embedded", split).sentences == corpus.sentences
    with pytest.raises(ValueError, match="flaxner:embedded has no split 'dev'; it has train, val"):
        read_corpus("flaxner:embedded", "dev")
