"""A run with a CRF: what it writes, what reads it, and what is refused."""

import json
import shutil

import numpy as np
import pytest

from flaxner.config.train import TrainConfig
from flaxner.evaluation.classifier_scores import evaluate
from flaxner.evaluation.predictions import read_predictions
from flaxner.files.records import read_record
from flaxner.inference.opening import load_exported
from flaxner.inference.pipeline import pipeline
from flaxner.models import crf
from flaxner.models.pretrained import load_pretrained
from flaxner.publishing.conversion import SavedRun, convert
from flaxner.runs.checkpoint import Checkpoints
from tests.compare import assert_close
from tests.conll import QUICK, sentences, write_conll
from tests.runs import start

TEXT = "Angela Merkel met Barack Obama in New York ."


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    long = [([*a, *b, *c], [*s, *t, *u]) for (a, s), (b, t), (c, u) in zip(
        sentences(8), sentences(8, 1), sentences(8, 2), strict=True)]  # fmt: skip
    return {
        "train_file": str(write_conll(folder / "train.conll", sentences(40) + long)),
        "validation_file": str(write_conll(folder / "dev.conll", sentences(16, shift=1) + long)),
        **{**QUICK, "max_length": 24},
        "decoder": "crf",
        "epochs": 3.0,
        "accumulate": 2,
    }


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory):
    return start(settings, tmp_path_factory.mktemp("runs") / "whole")


def test_the_scores_are_saved_beside_an_ordinary_token_classifier(finished):
    hub = finished.hub_dir
    loaded = load_pretrained(hub)
    scores = crf.Scores.of(loaded.params)
    assert finished.results["validation"]["overall_f1"] > 0.3
    assert np.abs(scores.transitions).max() > 1e-3
    assert json.loads((hub / "config.json").read_text())["flaxner"]["decoder"] == "crf"
    assert crf.FILE in read_record(hub).files
    saved = SavedRun.open(finished.output_dir)
    assert_close("exact", loaded.params, saved.params(finished.results["train"]["best_step"]))
    card = (hub / "README.md").read_text()
    assert "CRF" in card
    assert 'aggregation_strategy="word"' in card  # "simple" would ignore the CRF
    assert f"{finished.results['validation']['argmax']['overall_f1']:.4f}" in card


def test_torch_reads_the_head_and_verification_passes(finished, tmp_path):
    pytest.importorskip("torch")
    made = convert(finished.output_dir, output_dir=tmp_path / "again", verify=True)
    assert made.difference < 1e-4
    for name in (crf.FILE, "model.safetensors"):
        assert (made.folder / name).read_bytes() == (finished.hub_dir / name).read_bytes()


def test_both_scores_are_reported_and_equal_those_of_evaluate(finished, settings):
    """Includes sentences longer than a window, whose parts are separate chains in training too."""
    told = finished.results["validation"]
    assert told["decoder"] == "crf"
    for decoder, f1 in ((None, told["overall_f1"]), ("argmax", told["argmax"]["overall_f1"])):
        again = evaluate(finished.hub_dir, file=settings["validation_file"], decoder=decoder)
        assert again.report.overall_f1 == f1
    rows = read_predictions(finished.output_dir / "predictions" / "validation.conll")
    ner = pipeline("ner", model=finished.hub_dir)
    words = [list(row.words) for row in rows]
    assert ner.predict_words(words) == [list(row.tags) for row in rows]


def test_everything_that_tags_words_uses_the_crf(finished, tmp_path):
    ner = pipeline("ner", model=finished.hub_dir, aggregation_strategy="word")
    exported = load_exported(ner.export(tmp_path / "export", weights="int8"))
    ner.save_pretrained(tmp_path / "saved")
    saved = pipeline("ner", model=tmp_path / "saved", aggregation_strategy="word")
    words = [TEXT.split()]
    for other in (exported, saved):
        assert other.has_crf
        assert other.predict_words(words) == ner.predict_words(words)
    assert saved(TEXT) == ner(TEXT)
    strong = crf.Scores(*(np.zeros_like(part) for part in ner.classifier.crf))
    strong.starts[1] = strong.transitions[:, 1] = 1e3  # only the first B- label
    crf.write(tmp_path / "saved", strong)
    changed = pipeline("ner", model=tmp_path / "saved", aggregation_strategy="word")
    (first,) = {*changed.predict_words(words)[0]}
    assert first == ner.labels[1]
    assert [entity["entity_group"] for entity in changed(TEXT)] == [first[2:]] * 9
    assert [entity["score"] for entity in changed(TEXT)] == [1.0] * 9
    plain = changed.predict_words(words, decoder="argmax")
    assert plain == ner.predict_words(words, decoder="argmax") != changed.predict_words(words)


def test_a_resumed_run_is_the_same_run(finished, settings, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(finished.output_dir, folder)
    for name in ("results.json", "hub", "predictions"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    steps = sorted(int(path.name) for path in (folder / "checkpoints").iterdir())
    for step in steps[1:]:
        shutil.rmtree(folder / "checkpoints" / str(step))
    again = start(settings, folder, resume=True)
    last = finished.results["train"]["steps"]
    ours, theirs = (
        Checkpoints(made.output_dir / "checkpoints", read_only=True) for made in (again, finished)
    )
    shapes = SavedRun.open(folder).model.shapes
    assert_close("exact", *(each.restore_params(last, shapes) for each in (ours, theirs)))
    with pytest.raises(ValueError, match=r"crf_learning_rate differs: 0\.01 before, 0\.5 now"):
        start(settings, folder, resume=True, crf_learning_rate=0.5)


def test_document_windows_have_a_chain_for_each_sentence(settings, tmp_path):
    text = write_conll(tmp_path / "plain.conll", sentences(48)).read_text()
    blocks = text.strip().split("\n\n")
    documents = ("\n\n".join(["-DOCSTART- O", *blocks[i : i + 12]]) for i in range(0, 48, 12))
    (tmp_path / "train.conll").write_text("\n\n".join(documents) + "\n")
    file = str(tmp_path / "train.conll")
    made = start(
        settings, tmp_path / "run", train_file=file, validation_file=file, context="document",
        max_length=128, accumulate=1,
    )  # fmt: skip
    told = made.results["validation"]
    assert told["words_scored"] == told["words_in_corpus"]
    assert {"argmax", "sentences_alone"} <= told.keys()
    assert evaluate(made.hub_dir, file=file).report.overall_f1 == told["overall_f1"]


def test_training_continues_from_the_crf_scores_or_drops_them(finished, settings, tmp_path):
    base = str(finished.hub_dir)
    short = {"model": base, "epochs": 0.1, "learning_rate": 0.0, "crf_learning_rate": 0.0}
    on = start(settings, tmp_path / "on", **short)
    read = [load_pretrained(folder).params for folder in (on.hub_dir, finished.hub_dir)]
    assert_close("exact", read[0], read[1])
    del short["crf_learning_rate"]
    off = start(settings, tmp_path / "off", **{**short, "decoder": "softmax"})
    assert not (off.hub_dir / crf.FILE).exists()
    assert "decoder" not in json.loads((off.hub_dir / "config.json").read_text())["flaxner"]


def test_what_does_not_fit_is_refused(finished, settings, tmp_path):
    for change, flag in (({"label_tokens": "all"}, "--label-tokens all"),
                         ({"class_weights": ("balanced",)}, "--class-weights")):  # fmt: skip
        with pytest.raises(ValueError, match=f"--decoder crf and {flag} are mutually exclusive"):
            TrainConfig(**settings, **change)
    folder = tmp_path / "hub"
    shutil.copytree(finished.hub_dir, folder)
    labels = load_pretrained(folder).model.config.num_labels
    crf.write(folder, crf.Scores(np.full((labels, labels), np.nan), *[np.zeros(labels)] * 2))
    with pytest.raises(ValueError, match="NaN or infinity"):
        pipeline("ner", model=folder)
    crf.write(folder, crf.Scores(np.zeros((2, 2)), np.zeros(2), np.zeros(2)))
    with pytest.raises(ValueError, match=f"must hold CRF scores for {labels} labels"):
        pipeline("ner", model=folder)
    (folder / crf.FILE).write_bytes(b"")
    with pytest.raises(ValueError, match=crf.FILE):
        pipeline("ner", model=folder)
    (folder / crf.FILE).unlink()
    with pytest.raises(ValueError, match=f"lacks {crf.FILE}, the scores of the CRF"):
        pipeline("ner", model=folder)
    fields = json.loads((folder / "config.json").read_text())
    fields["flaxner"]["decoder"] = "magic"
    (folder / "config.json").write_text(json.dumps(fields))
    with pytest.raises(ValueError, match="names the decoder 'magic'"):
        pipeline("ner", model=folder)
    del fields["flaxner"]["decoder"]
    (folder / "config.json").write_text(json.dumps(fields))
    with pytest.raises(ValueError, match="the model has no CRF"):
        pipeline("ner", model=folder).predict_words([["a"]], decoder="crf")
