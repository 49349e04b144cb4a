"""`evaluate.py` gives the scores of training: types, windows, words."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from flaxner.config.train import TrainConfig
from flaxner.data.corpus import read_corpus
from flaxner.data.labels import LabelScheme
from flaxner.data.tokenizer_training import train_wordpiece
from flaxner.data.type_names import broad_name, match_names
from flaxner.evaluation.classifier_scores import evaluate, match_types
from flaxner.inference.pipeline import pipeline
from flaxner.models.network import Model
from flaxner.publishing.conversion import convert
from flaxner.publishing.hub_folder import export_folder
from flaxner.training.run import train
from tests import scripts
from tests.conll import QUICK, sentences, write_conll
from tests.pipelines import edited, make_folder, torch_pipeline
from tests.tiny import tiny_config
from tests.wordpiece import TEXTS, tiny_tokenizer

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "evaluate.py"
NAMES = {"PER": "organization", "LOC": "corporation", "ORG": "Name"}


def renamed(made):
    """Rename the types to three that a table of synonyms would merge."""
    return [
        (words, [tag[:2] + NAMES[tag[2:]] if tag != "O" else tag for tag in tags])
        for words, tags in made
    ]


def joined(made, count):
    """Join every `count` sentences into one that is longer than a window."""
    groups = [made[i : i + count] for i in range(0, len(made), count)]
    return [([w for ws, _ in g for w in ws], [t for _, ts in g for t in ts]) for g in groups]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on such a corpus, started from a model whose tokenizer has a limit of 12 tokens."""
    folder = tmp_path_factory.mktemp("run")
    words = (" ".join(words) for words, _ in sentences(96))
    tokenizer, scheme = train_wordpiece(words, 300), LabelScheme(("O", "B-x", "I-x"))
    sizes = {"hidden_size": 64, "vocab_size": len(tokenizer), "num_labels": len(scheme)}
    model = Model(tiny_config(**sizes, num_hidden_layers=1))
    export_folder(folder / "start", model, model.init(0), scheme, tokenizer)
    start = with_length(folder / "start", 12)
    files = {}
    for number, split in enumerate(("train", "validation", "test")):
        made = renamed(sentences(96 if split == "train" else 24, shift=number))
        files[f"{split}_file"] = str(write_conll(folder / split, joined(made, 3)))
    settings = {**QUICK, **files, "model": str(start), "max_length": 64, "epochs": 10.0}
    settings |= {"output_dir": str(folder / "out"), "eval_every": 100, "learning_rate": 5e-3}
    return train(TrainConfig(**settings), console=Console(quiet=True))


def with_length(folder, length):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": length}))
    return folder


def test_evaluate_gives_the_score_of_training(run):
    """`evaluate.py --model OUT/hub --file TEST` after `train.py`: the same F1 for every type."""
    out = run.output_dir
    trained = run.results["test"]
    assert trained["overall_f1"] > 0.3
    paths = {"model": out / "hub", "file": out.parent / "test", "output-dir": out.parent / "scores"}
    made = subprocess.run(
        [sys.executable, SCRIPT, *(f"--{name}={path}" for name, path in paths.items())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert "the corpus" not in made.stdout  # no type is matched to another
    scored = json.loads((out.parent / "scores" / "results.json").read_text())
    assert {name: scored[name] for name in trained if name != "mode"} == {
        name: value for name, value in trained.items() if name != "mode"
    }
    assert set(scored["per_type"]) == set(NAMES.values())


def test_repaired_tags_are_reported(run, tmp_path):
    tags = ["O", "I-Name", "O", "B-Name", "O", "B-Name"]
    corpus = write_conll(tmp_path / "odd", [(["A", "b", "C", "d", "e", "f"], tags)])
    assert any("1 tag was illegal in" in note for note in evaluate(run.hub_dir, file=corpus).notes)


def test_the_published_tokenizer_allows_the_windows_of_training(run, tmp_path):
    config = json.loads((run.output_dir / "hub" / "tokenizer_config.json").read_text())
    assert config["model_max_length"] == 64
    again = convert(run.output_dir, output_dir=tmp_path / "again").folder
    assert json.loads((again / "tokenizer_config.json").read_text())["model_max_length"] == 64
    text = " ".join(TEXTS)
    ours, theirs = pipeline("ner", model=again), torch_pipeline(again)
    call = {"ignore_labels": []}
    assert len(theirs(text, **call)) == len(ours(text, truncation=True, **call)) > 12


def test_an_older_folder_is_read_with_the_window_of_training(run, tmp_path):
    """As published by an earlier version: config.json has the window, the tokenizer does not."""
    old = with_length(edited(run.output_dir / "hub", tmp_path / "old", lambda f: None), 12)
    ner = pipeline("ner", model=old)
    assert (ner.window, ner.predictor.limit) == (64, 64)
    corpus = run.output_dir.parent / "test"
    f1 = evaluate(ner, file=corpus).report.overall_f1
    assert f1 == run.results["test"]["overall_f1"]
    assert f1 != evaluate(ner, file=corpus, max_length=12).report.overall_f1
    # Truncation is that of torch's pipeline.
    call = {"ignore_labels": []}
    text = " ".join(TEXTS)
    cut = ner(text, truncation=True, **call)
    assert len(cut) == len(torch_pipeline(old)(text, **call)) == 10


def test_the_callers_tokenizer_is_not_changed(tmp_path):
    tokenizer = copy.copy(tiny_tokenizer())
    before = tokenizer.model_max_length
    make_folder(tmp_path / "hub", max_length=24)
    assert tokenizer.model_max_length == tiny_tokenizer().model_max_length == before


def test_windows_longer_than_the_model_reads_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at most the model's 64 positions: 65"):
        make_folder(tmp_path / "none", max_length=65)
    assert not (tmp_path / "none").exists()
    folder = make_folder(tmp_path / "hub", max_length=24)
    longer = edited(folder, tmp_path / "longer", lambda f: f["flaxner"].update(max_length=128))
    with pytest.raises(ValueError, match="windows of 128 tokens, but it reads at most 64 at once"):
        pipeline("ner", model=longer)
    for length in ("64", 2, 0, -1, 12.5, True):
        wrong = pipeline("ner", model=folder)
        wrong.tokenizer.model_max_length = length
        with pytest.raises(ValueError, match=f"of tokens, 8 or more: got {length!r}"):
            wrong(TEXTS[0])


def test_a_tokenizers_limit_may_change(tmp_path):
    """As in torch's pipeline, which reads model_max_length on every call."""
    folder = make_folder(tmp_path / "hub")
    ours, theirs = pipeline("ner", model=folder), torch_pipeline(folder)
    text, call = " ".join(TEXTS * 3), {"ignore_labels": []}
    for length in (16, 40, 10**30):
        ours.tokenizer.model_max_length = theirs.tokenizer.model_max_length = length
        mine = ours(text, truncation=True, **call)
        if 0 < length <= 64:  # torch fails beyond its positions
            assert [e["word"] for e in mine] == [e["word"] for e in theirs(text, **call)]
            stride = {"stride": 4, "aggregation_strategy": "simple"}
            assert [e["word"] for e in ours(text, **stride)] == [
                e["word"] for e in theirs(text, **stride)
            ]
        limit = length if 0 < length <= 64 else 64
        assert (len(mine), ours.window) == (limit - 2, limit)
        assert len(ours(text, **call)) == len(ours.tokenizer.tokenize(text))
    trained = pipeline("ner", model=make_folder(tmp_path / "trained", max_length=24))
    for length, window in ((64, 24), (32, 24), (16, 16), (64, 24)):
        trained.tokenizer.model_max_length = length
        assert trained.window == window


def test_names_are_paired_one_to_one():
    assert match_names(["PER", "PERSON"], ["PERSON", "PER"])[0] == {
        "PER": "PER",
        "PERSON": "PERSON",
    }
    assert match_names(["PER", "PERSON", "x"], ["PER"]) == ({"PER": "PER"}, [])
    assert match_names(["Name", "name"], ["name", "NAME"])[0] == {"name": "name", "Name": "NAME"}
    assert match_names(["PER", "creative work"], ["person", "Creative-Work"])[0] == {
        "PER": "person",
        "creative work": "Creative-Work",
    }
    pairs, unsure = match_names(["organization", "corporation", "LOC"], ["ORG", "Location"])
    assert (pairs, unsure) == (
        {"LOC": "Location"},
        [(["corporation", "organization"], ["ORG"])],
    )
    assert match_names(["GPE", "LOC"], ["LOC"])[0] == {"LOC": "LOC"}
    assert match_names(["GPE"], ["LOC"])[0] == {}  # part of a type is not the whole
    assert [broad_name(n) for n in ("person", "gpe", "company", "product", "Org")] == [
        "PER", "LOC", "ORG", "product", "ORG",
    ]  # fmt: skip


def test_ambiguous_type_pairs_must_be_given(tmp_path):
    corpus = read_corpus(write_conll(tmp_path / "c", [(["a", "b"], ["B-ORG", "B-Location"])]))
    labels = ("O", "B-organization", "I-organization", "B-corporation", "I-corporation", "B_LOC")
    with pytest.raises(ValueError, match="corporation and organization of the model and ORG"):
        match_types(labels, corpus)
    tags, notes = match_types(labels, corpus, {"organization": "ORG", "LOC": "Location"})
    assert tags["I-organization"] == "I-ORG"
    assert tags["B-corporation"] == "B-corporation"
    assert tags["B_LOC"] == "B-Location"
    assert notes == [
        "the model's LOC is scored as the corpus's Location",
        "the model's organization is scored as the corpus's ORG",
        "the corpus does not have corporation: each one found is an error",
    ]
    with pytest.raises(ValueError, match="no entity type in common"):
        match_types(labels, corpus, {})
    with pytest.raises(ValueError, match="does not name its labels: write them into "):
        match_types(("LABEL_0", "LABEL_1"), corpus)
    with pytest.raises(ValueError, match="the model has no type 'PER'; it has LOC, corporation"):
        match_types(labels, corpus, {"PER": "ORG"})
    with pytest.raises(ValueError, match="has no type 'PER'; it has Location, ORG"):
        match_types(labels, corpus, {"LOC": "PER"})
    with pytest.raises(ValueError, match="corporation and organization of the model cannot both"):
        match_types(labels, corpus, {"organization": "ORG", "corporation": "ORG"})


def test_evaluate_py_accepts_type_pairs(tmp_path):
    folder = make_folder(tmp_path / "hub")
    corpus = write_conll(tmp_path / "c", [(["a", "b"], ["B-Ort", "B-LOC"])])

    def scored(pair):
        files = ("--model", folder, "--file", corpus)
        return scripts.run("evaluate.py", *files, "--same-type", pair)

    made = scored("PER=Ort")
    assert made.returncode == 0, made.stderr
    assert "the model's PER is scored as the corpus's Ort" in made.stdout
    wrong = scored("PER")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "expected NAME=NAME, each name once: got 'PER'" in wrong.stderr
