"""Data options, end to end on tiny models: each one trains, is reported and is saved."""

import dataclasses
import json
import re
import shutil
import statistics
from pathlib import Path

import pytest

from flaxner.config.files import load_settings
from flaxner.config.train import TrainConfig
from flaxner.data.casing import casing_warnings
from flaxner.data.corpus import Corpus, Sentence
from flaxner.data.tags import tags_to_spans
from flaxner.data.tokenizer_training import train_wordpiece
from flaxner.training.doubts import corpus_warnings
from flaxner.training.stopping import RunStopped
from tests.conll import QUICK, sentences, write_conll
from tests.runs import start_and_read as start


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    made = [([*words, str(i)], [*tags, "O"]) for i, (words, tags) in enumerate(sentences(48))]
    return {
        "train_file": str(write_conll(folder / "train.conll", made)),
        "test_file": str(write_conll(folder / "test.conll", sentences(16, shift=2))),
        **QUICK,
        "epochs": 2.0,
    }


@pytest.mark.slow
def test_all_options_at_once(settings, tmp_path):
    """Class weights, all tokens, a held-out split, a few-shot sample and new types in one run."""
    changes = {
        "label_tokens": "all", "class_weights": ["balanced"], "held_out": 0.25, "few_shot": 3,
        "map_types": ["PER=name", "LOC=name"], "drop_types": ["ORG"],
    }  # fmt: skip
    result, told = start(settings, tmp_path / "run", **changes)
    assert result.results["test"]["per_type"].keys() == {"name"}
    assert result.results["validation"]["words_scored"] > 0
    assert "12 of 48 sentences are used for validation (held out, data seed 0)" in told
    assert "PER renamed to name; LOC renamed to name; " in told
    assert "entities of ORG dropped" in told
    assert "3~6-shot, greedy as in Few-NERD" in told
    again = load_settings(result.output_dir / "config.toml")
    assert {name: again[name] for name in changes} == changes
    card = (result.hub_dir / "README.md").read_text("utf-8")
    assert re.search(r"few_shot *\| *3", card)
    assert re.search(r"map_types *\| *PER=name LOC=name", card)
    config = json.loads((result.hub_dir / "config.json").read_text())
    assert set(config["label2id"]) == {"O", "B-name", "I-name"}
    first = json.loads((result.output_dir / "metrics.jsonl").read_text().splitlines()[0])
    assert "words" not in first
    assert first["labelled_tokens"] > 0
    start(settings, tmp_path / "run", **changes, resume=True)
    for name, other in {"class_weights": ["sqrt"], "label_tokens": "first", "few_shot": 4}.items():
        with pytest.raises(ValueError, match=f"cannot resume .*{name} differs: "):
            start(settings, tmp_path / "run", **{**changes, name: other}, resume=True)


def test_an_option_that_does_not_fit_the_corpus_writes_nothing(settings, tmp_path):
    for changes in (
        {"class_weights": ["X=2"]}, {"map_types": ["X=Y"]}, {"drop_types": ["PER", "LOC", "ORG"]},
        {"cross_validation": 60}, {"cross_validation": 2, "class_weights": ["X=2"]},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"'X'|nothing to learn|cannot divide"):
            start(settings, tmp_path / "run", **changes)
        assert not (tmp_path / "run").exists()


FOLDS = {"cross_validation": 2, "epochs": 1.0}


@pytest.fixture(scope="module")
def folds(settings, tmp_path_factory):
    return start(settings, tmp_path_factory.mktemp("runs") / "folds", **FOLDS)


def test_cross_validation_trains_every_fold_and_averages(folds, settings):
    result, told = folds
    summary = json.loads((result.output_dir / "results.json").read_text())
    assert summary == result.results
    parts = [
        json.loads((result.output_dir / f"fold-{i}" / "results.json").read_text()) for i in (1, 2)
    ]
    for split in ("validation", "test"):
        scores = [part[split]["overall_f1"] for part in parts]
        said = summary[split]["overall_f1"]
        assert said["folds"] == scores
        assert said["mean"] == pytest.approx(sum(scores) / 2)
        assert said["std"] == pytest.approx(statistics.stdev(scores))
        assert f"{split}, mean of 2 folds: " in told
        assert f"f1 {said['mean']:.4f} ± {said['std']:.4f}" in told
    words = sum(part["validation"]["words_scored"] for part in parts)
    lines = Path(settings["train_file"]).read_text("utf-8").split("\n")
    assert words == summary["pooled"]["words_scored"] == sum(map(bool, lines))
    gold = sum(row["support"] for row in summary["pooled"]["per_type"].values())
    assert gold == sum(line.split(" ")[-1].startswith("B-") for line in lines if line)
    assert result.hub_dir.parent.name in {"fold-1", "fold-2"}
    assert (result.hub_dir / "model.safetensors").is_file()


@pytest.mark.slow
def test_a_finished_fold_is_not_repeated(folds, settings, tmp_path):
    copy = tmp_path / "folds"
    shutil.copytree(folds[0].output_dir, copy)
    shutil.rmtree(copy / "fold-2")
    (copy / "results.json").unlink()
    record = copy / "fold-1" / ".flaxner.json"  # written when the folder is locked
    kept = [p for p in copy.glob("fold-1/**/*") if p.is_file() and not p.name.startswith(".lock")]
    before = {p: p.stat().st_mtime_ns for p in kept if p != record}, record.read_bytes()
    result, told = start(settings, copy, **FOLDS, resume=True)
    assert told.count("has finished: nothing left to do") == 1
    after = {p: p.stat().st_mtime_ns for p in kept if p != record}, record.read_bytes()
    assert after == before
    for split in ("validation", "test"):
        assert result.results[split] == folds[0].results[split]
    with pytest.raises(ValueError, match="cross_validation differs: 2 before, 4 now"):
        start(settings, copy, **{**FOLDS, "cross_validation": 4}, resume=True)
    with pytest.raises(ValueError, match="already holds a run: continue that run with --resume"):
        start(settings, copy, **FOLDS)


@pytest.mark.slow
def test_one_fold_alone_equals_that_fold_of_the_whole(folds, settings, tmp_path):
    alone, _ = start(settings, tmp_path / "one", **FOLDS, fold=2)
    there = folds[0].output_dir / "fold-2" / "results.json"
    for split in ("validation", "test"):
        assert alone.results[split] == json.loads(there.read_text())[split]


def test_an_interrupted_fold_says_how_to_resume_the_whole(settings, tmp_path, monkeypatch):
    from flaxner.training.loop import Loop

    def interrupted(self, checkpoints):
        raise KeyboardInterrupt

    monkeypatch.setattr(Loop, "stepwise", interrupted)
    with pytest.raises(RunStopped, match=r"start again with: .*/folds/config\.toml --resume"):
        start(settings, tmp_path / "folds", **FOLDS)


@pytest.mark.slow
def test_overwriting_deletes_the_folds(folds, settings, tmp_path):
    shutil.copytree(folds[0].output_dir, tmp_path / "run")
    start(settings, tmp_path / "run", epochs=1.0, overwrite=True)
    assert not list((tmp_path / "run").glob("fold-*"))


CASED = [
    (
        "Angela Merkel met Barack Obama in New York today .",
        "B-PER I-PER O B-PER I-PER O B-LOC I-LOC O O",
    )
]


def corpus(pairs, change=str, source="train.conll", times=40):
    made = [Sentence(tuple(change(w).split()), tuple(t.split())) for w, t in pairs]
    return Corpus(made * times, source, "IOB2", 0)


UNSEEN = (
    "MODEL ignores case, but here capitals mark entities (100% of the words in entities are "
    "capitalised, 0% of the others): a cased model may do better"
)
SMALL = "train.conll is all in lower case, and MODEL is cased: an uncased model may do better"
CAPITALS = (
    "train.conll is all in upper case, and MODEL is cased: lower-casing or truecasing may do better"
)


@pytest.mark.parametrize(
    ("lowercase", "change", "told"),
    [
        (False, str, []),
        (True, str, [UNSEEN]),
        (True, str.lower, []),
        (False, str.lower, [SMALL]),
        (False, str.upper, [CAPITALS]),
    ],
)
def test_casing_warnings(lowercase, change, told):
    tokenizer = train_wordpiece([words for words, _ in CASED], 200, lowercase=lowercase)
    train_corpus = corpus(CASED, change)
    assert casing_warnings({"train": train_corpus}, tokenizer, "MODEL") == told


def test_casing_warnings_of_other_splits_and_scripts():
    tokenizer = train_wordpiece([words for words, _ in CASED], 200)
    test = corpus(CASED, str.lower, "test.conll")
    (told,) = casing_warnings({"train": corpus(CASED), "test": test}, tokenizer, "MODEL")
    assert told.startswith("test.conll is all in lower case")
    chinese = corpus([("安 格 拉 在 纽 约", "B-PER I-PER I-PER O B-LOC I-LOC")])
    assert casing_warnings({"train": chinese}, tokenizer, "MODEL") == []
    few = dataclasses.replace(corpus(CASED, str.lower), sentences=corpus(CASED).sentences[:3])
    assert casing_warnings({"train": few}, tokenizer, "MODEL") == []


@pytest.mark.parametrize(
    ("files", "types", "told"),
    [
        ({"test_file": "test.conll"}, "PER LOC", []),
        ({"test_file": "a.conll"}, "PER LOC", ["a.conll is both a training and a test file"]),
        ({}, "PER Per LOC PERSON PRODUCT", [
            "PER, PERSON, Per are learnt as different types; "
            "--map-types PERSON=PER Per=PER merges them"
        ]),
        ({}, "Pe\u0301r P\u00e9r", [
            "Pe\u0301r, P\u00e9r are learnt as different types; "
            "--map-types P\u00e9r=Pe\u0301r merges them"
        ]),
        ({}, "PER null", [
            "the type null seems to stand for entities whose type is missing, but is learnt like "
            "any other; --drop-types null makes them O"
        ]),
    ],
)  # fmt: skip
def test_warnings_about_corpora(files, types, told):
    config = TrainConfig(train_file=("a.conll", "b.conll"), **files)
    train = corpus([("a " * len(types.split()), " ".join(f"B-{t}" for t in types.split()))])
    assert corpus_warnings(config, {"train": train, "test": train}) == told


@pytest.mark.parametrize(
    ("split", "select", "more"),
    [
        ("test", "best", ""),
        ("validation", "last", ""),
        ("validation", "best", ", and the first evaluation counts as the best"),
    ],
)
def test_a_split_without_entities_is_reported(split, select, more):
    """As in a shared task's test file, whose tags are withheld."""
    blind = corpus([("It rained", "O O")], source="blind.conll")
    config = TrainConfig(train_file="train.conll", select=select)
    told = f"blind.conll has no entities: its F1 is 0 whatever the model finds{more}"
    assert corpus_warnings(config, {"train": corpus(CASED), split: blind}) == [told]


@pytest.mark.slow
def test_a_warning_is_printed_once(settings, tmp_path):
    small = [([w.lower() for w in words], tags) for words, tags in sentences(48)]
    path = write_conll(tmp_path / "small.conll", small)
    assert sum(len(tags_to_spans(tags)) for _, tags in small) > 0
    _, told = start(settings, tmp_path / "run", train_file=str(path), test_file=None, epochs=1.0)
    assert told.count("is all in lower case, and flaxner:tiny is cased") == 1
