"""A run with document context, end to end: the same score everywhere, resumed bit for bit."""

import argparse
import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from rich.console import Console

from flaxner.config.train import TrainConfig
from flaxner.data.corpus import read_corpus
from flaxner.data.document_batches import DocumentBatches
from flaxner.data.documents import in_documents
from flaxner.data.labels import LabelScheme
from flaxner.data.tokenizer_training import train_wordpiece
from flaxner.devices.mesh import make_mesh, place_batch
from flaxner.evaluation.classifier_scores import evaluate
from flaxner.evaluation.predictions import read_predictions
from flaxner.inference import words as words_module
from flaxner.inference.opening import load_exported
from flaxner.inference.pipeline import pipeline
from flaxner.inference.printing import print_answers
from flaxner.inspection.report import inspect
from flaxner.models.network import Model
from flaxner.publishing.conversion import SavedRun
from flaxner.publishing.hub_folder import export_folder
from flaxner.runs.steps import StepFolders
from flaxner.training.fingerprint import BATCHES, divisions, refuse_another
from flaxner.training.loss import Softmax
from flaxner.training.optimizer import make_optimizer
from flaxner.training.rates import rates_by
from flaxner.training.step import INPUTS, init_state, make_steps
from tests.compare import assert_close, scaled_close
from tests.conll import QUICK, sentences, write_conll
from tests.families import FAMILIES
from tests.runs import start
from tests.tiny import random_segments, tiny_config

SCHEME = LabelScheme(("O", "B-x", "I-x"))  # of the initial model; training replaces its head


def write_documents(path, count, per_document, shift=0):
    """Write sentences with a -DOCSTART- line before every `per_document` of them."""
    made = []
    for number, sentence in enumerate(sentences(count, shift)):
        if number % per_document == 0:
            made.append((["-DOCSTART-"], ["O"]))
        made.append(sentence)
    return write_conll(path, made)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    files = {
        "train_file": write_documents(folder / "train.conll", 72, 24),
        "validation_file": write_documents(folder / "dev.conll", 24, 12, shift=1),
        "test_file": write_documents(folder / "test.conll", 40, 40, shift=2),
    }
    tokenizer, scheme = train_wordpiece((" ".join(w) for w, _ in sentences(96)), 300), SCHEME
    sizes = {"vocab_size": len(tokenizer), "num_labels": len(scheme), "num_hidden_layers": 1}
    model = Model(tiny_config(**sizes, hidden_size=64, max_position_embeddings=128))
    export_folder(folder / "start", model, model.init(0), scheme, tokenizer)
    paths = {name: str(path) for name, path in files.items()} | {"model": str(folder / "start")}
    return {**QUICK, **paths, "context": "document", "max_length": 128, "batch_size": 24,
            "epochs": 8.0, "eval_every": 24, "save_every": 13, "learning_rate": 1e-2}  # fmt: skip


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory):
    return start(settings, tmp_path_factory.mktemp("runs") / "whole")


def test_evaluate_gives_the_score_of_training(finished, settings):
    """With the model's own context by default, or each sentence alone; files mark the documents."""
    trained = dict(finished.results["test"])
    alone = trained.pop("sentences_alone")
    assert trained["overall_f1"] > 0.3
    assert trained["overall_f1"] != alone["overall_f1"]
    corpus = read_corpus(settings["test_file"])
    assert trained["words_scored"] == trained["words_in_corpus"] == corpus.words
    ner = pipeline("ner", model=finished.hub_dir)
    assert (ner.context, ner.window) == ("document", 128)
    again = evaluate(ner, file=settings["test_file"]).report.to_dict()
    assert again == trained
    single = evaluate(ner, file=settings["test_file"], context="sentences").report.to_dict()
    assert {name: single[name] for name in alone} == alone
    kept = read_predictions(finished.output_dir / "predictions" / "validation.conll")
    assert [(p.words, p.document) for p in kept] == [
        (s.words, s.document) for s in read_corpus(settings["validation_file"])
    ]


def test_every_record_states_the_context(finished):
    assert finished.results["train"]["context"] == "document"
    block = json.loads((finished.hub_dir / "config.json").read_text())["flaxner"]
    assert (block["context"], block["max_length"]) == ("document", 128)
    kept = StepFolders(finished.output_dir / "checkpoints")
    assert {f"{split} documents" for split in ("train", "validation")} < {*kept.describe(24)[1]}
    assert 'context = "document"' in (finished.output_dir / "config.toml").read_text()
    card = (finished.hub_dir / "README.md").read_text()
    assert "| context | document |" in card
    assert "| sentences shown on their own | 25% |" in card
    assert "With each sentence read on its own, without its document, F1 is " in card


def test_another_division_into_documents_is_refused(settings, tmp_path):
    corpus = read_corpus(settings["validation_file"])
    one = [dataclasses.replace(sentence, document=0) for sentence in corpus]
    begun, now = (
        {BATCHES: "", **divisions({"validation": c})}
        for c in (corpus, dataclasses.replace(corpus, sentences=one))
    )
    refuse_another(tmp_path, begun, begun)
    told = "how the validation corpus is divided into documents differs"
    with pytest.raises(ValueError, match=told):
        refuse_another(tmp_path, now, begun)
    refuse_another(tmp_path, now, {BATCHES: ""})  # from a version that did not record it


def test_resume_in_the_middle_of_an_epoch_is_bitwise_exact(settings, finished, tmp_path):
    assert finished.results["train"]["steps"] == 24  # 3 per epoch: step 13 is mid-epoch
    folder = tmp_path / "cut"
    shutil.copytree(finished.output_dir, folder)
    shutil.rmtree(folder / "checkpoints" / "24")
    for name in ("hub", "predictions"):
        shutil.rmtree(folder / name)
    (folder / "results.json").unlink()
    again = start(settings, folder, resume=True)
    saved, whole = SavedRun.open(folder), SavedRun.open(finished.output_dir)
    assert_close("exact", saved.params(24), whole.params(24))
    log = (finished.output_dir / "metrics.jsonl").read_bytes()
    assert (folder / "metrics.jsonl").read_bytes() == log
    assert again.results["test"] == finished.results["test"]
    for changes in ({"context_share": 0.5}, {"context": "sentences"}):
        with pytest.raises(ValueError, match=f"{next(iter(changes))} differs"):
            start(settings, folder, resume=True, **changes)


def test_words_are_tagged_in_training_windows(finished, settings, tmp_path, monkeypatch):
    """However many sentences are processed at once; an export has the same context."""
    ner = pipeline("ner", model=finished.hub_dir)
    corpus = read_corpus(settings["train_file"])
    words = [sentence.words for sentence in corpus]
    tags = ner.predict_words(words, documents=corpus.documents)
    assert tags != ner.predict_words(words)
    monkeypatch.setattr(words_module, "ANSWERED_AT_ONCE", 5)
    assert ner.predict_words(words, documents=map(str, corpus.documents)) == tags
    for documents, longer in ((corpus.documents[:-1], "sentences"), ([*words, 1], "documents")):
        with pytest.raises(
            ValueError, match=f"one key for each sentence: after 7[12] of each, only {longer}"
        ):
            ner.predict_words(words, documents=[str(name) for name in documents])
    exported = load_exported(ner.export(tmp_path / "export"))
    assert exported.context == "document"
    assert exported.predict_words(words, documents=corpus.documents) == tags


def test_predict_keeps_documents(finished, tmp_path, capsys):
    ner = pipeline("ner", model=finished.hub_dir)
    texts = [" ".join(words) for words, _ in sentences(8)]
    lines = [texts[0], "-DOCSTART-", *texts[1:5], "", "-DOCSTART- -X- O", *texts[5:]]
    file = tmp_path / "texts"
    file.write_text("\n".join(lines) + "\n")
    given = {"texts": [], "file": str(file), "model": ner, "format": "conll", "engine": None}
    print_answers(argparse.Namespace(**given, aggregation_strategy="word", decoder="viterbi"))
    (tmp_path / "out.conll").write_text(capsys.readouterr().out)
    made = read_corpus(tmp_path / "out.conll")
    assert made.documents == [None, 0, 0, 0, 0, 1, 1, 1]
    words = [ner.split_words(text) for text in texts]
    alone = ner.predict_words(words[:1])
    assert [list(s.words) for s in made] == words
    together = ner.predict_words(words[1:], documents=[0, 0, 0, 0, 1, 1, 1])
    assert [list(s.tags) for s in made] == [*alone, *together]


def test_inspection_reports_steps_and_files_without_documents(settings, tmp_path, capsys):
    plain = write_conll(tmp_path / "plain.conll", sentences(40))
    config = TrainConfig(**{**settings, "train_file": str(plain)})
    inspect(config, console=Console(width=200))
    out = capsys.readouterr().out
    assert f"note: {plain} does not mark documents: it counts as one" in out
    assert "dev.conll does not mark" not in out
    assert "Training: 16 steps of about 20 sentences (2 per epoch, 8 epochs)" in out


@pytest.mark.slow
def test_eight_devices_equal_one():
    """With dropout; the windows of a step are spread over the devices."""
    plain = random_segments(
        np.random.default_rng(4), np.random.default_rng(3).integers(3, 20, 64), sep=True
    )
    documents = in_documents(plain, (np.arange(64) // 11).tolist(), 60)
    batches = DocumentBatches(
        documents.joined, 16, 60, 3, 0, 8, documents=documents, window=60, share=0.25
    )
    model = FAMILIES["bert"].model(initializer_range=0.1)
    rates = rates_by("linear", batches.num_steps, 0.1, 1e-3)
    optimizer = make_optimizer()

    def trained(devices):
        mesh = make_mesh(1, jax.devices()[:devices])
        steps = make_steps(model, Softmax(), optimizer, rates, mesh, seed=0)
        state, losses = init_state(model.init(0), optimizer, mesh), []
        for step in range(batches.num_steps):
            rows = batches.at(step)
            batch = place_batch({n: getattr(rows, n) for n in (*INPUTS, "labels")}, mesh)
            state, metrics = steps.train(state, batch)
            losses.append(float(metrics["loss"]))
        return {path: np.asarray(value) for path, value in state.params.items()}, losses

    (one, losses), (many, theirs) = trained(1), trained(8)
    scaled_close("devices", many, one)
    np.testing.assert_allclose(theirs, losses, rtol=1e-5)
