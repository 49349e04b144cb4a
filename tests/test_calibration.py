"""Calibration of scores: bins and temperatures computed by hand, and in the pipeline."""

import json

import numpy as np
import pytest

from flaxner.data.labels import LabelScheme
from flaxner.evaluation.calibration import (
    Found,
    expected_error,
    fit_temperature,
    label_scores,
    reliability,
    summary,
)
from flaxner.evaluation.predictions import Predicted
from flaxner.evaluation.word_scores import WordScores, read_scores, write_scores
from flaxner.inference.opening import load_exported
from flaxner.inference.pipeline import pipeline
from flaxner.models.config_json import OURS, hub_config
from flaxner.models.network import Model
from flaxner.publishing.hub_folder import export_folder
from tests.tiny import tiny_config
from tests.wordpiece import TEXTS, tiny_tokenizer

TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")
STRATEGIES = ("none", "simple", "first", "average", "max", "word")


def test_entities_and_their_scores_by_hand():
    whole = ("B-PER", "I-PER", "O")
    rows = [
        Predicted(("Ann", "Lee", "left"), whole, whole),
        Predicted(("Bonn",), ("B-LOC",), ("I-PER",)),  # as in conlleval, I-PER alone is an entity
    ]
    found = Found.of(rows, LabelScheme(TAGS).label2id)
    assert found.right.tolist() == [True, False]
    assert (found.words.tolist(), found.starts.tolist()) == ([0, 1, 3], [0, 2])
    logits = np.log(np.asarray([[0.1, 0, 0, 0.9, 0], [0.3, 0, 0, 0, 0.7], [1, 0, 0, 0, 0],
                                [0.5, 0, 0, 0, 0.5]]) + 1e-30)  # fmt: skip
    assert found.scores(logits) == pytest.approx([0.8, 0.5])
    assert found.scores(logits, 1e6) == pytest.approx([0.2, 0.2], abs=1e-3), "uniform when hot"


def test_bins_and_their_error_by_hand():
    bins = reliability(np.asarray([0.95, 0.85, 0.8, 1.0]), np.asarray([True, False, True, True]))
    assert [(b.low, b.entities, b.score, b.right) for b in bins] == [
        (0.8, 2, pytest.approx(0.825), 0.5),
        (0.9, 2, pytest.approx(0.975), 1.0),
    ]
    assert expected_error(bins) == pytest.approx((2 * 0.325 + 2 * 0.025) / 4)
    assert expected_error([]) is None


def test_a_temperature_corrects_overconfident_scores():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = (probs.cumsum(1) > rng.random((4000, 1))).argmax(1)
    labels = logits.argmax(1)
    every = np.arange(4000)
    found = Found(labels == truth, every, every, labels)
    assert fit_temperature(found, logits) == pytest.approx(1.0, abs=0.1)
    assert fit_temperature(found, 3 * logits) == pytest.approx(3.0, abs=0.3)
    told = summary(found, label_scores(3 * logits, labels), 3 * logits, 3.0)
    assert told["expected_error_calibrated"] < 0.03 < 0.1 < told["expected_error"]


def test_few_entities_or_no_mistakes_give_no_extreme_temperature():
    logits = np.tile([2.0, 0.0], (200, 1))
    labels, every = np.zeros(200, int), np.arange(200)
    assert fit_temperature(Found(labels == 0, every, every, labels), logits) > 0.3
    few = Found(np.ones(5, bool), every[:5], every[:5], labels[:5])
    assert fit_temperature(few, logits) is None
    assert label_scores(np.zeros((0, 2)), np.zeros(0, int)).shape == (0,)


def test_scores_are_saved_and_read_per_word(tmp_path):
    path = tmp_path / "test.safetensors"
    kept = WordScores(np.asarray([0.5, 0.9], np.float32), np.ones((2, 3), np.float32))
    assert write_scores(path, kept) == []
    read = read_scores(path, 2)
    assert (read.scores == kept.scores).all()
    assert (read.logits == kept.logits).all()
    with pytest.raises(ValueError, match="scores of 3 words"):
        read_scores(path, 3)
    (tmp_path / "torn.safetensors").write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match="torn"):
        read_scores(tmp_path / "torn.safetensors", 2)


def test_a_temperature_belongs_to_its_weights_and_is_checked():
    model, scheme = Model(tiny_config()), LabelScheme(TAGS)
    fields = hub_config(model, scheme, {}, temperature=1.5)
    assert fields[OURS]["temperature"] == 1.5
    assert "temperature" not in hub_config(model, scheme, fields)[OURS], "from another model"
    code = {"auto_map": {"AutoModelForTokenClassification": "code.Model"}}
    assert "auto_map" not in hub_config(model, scheme, code), "the code is not published"
    for wrong in (0, -1, "hot", True, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="temperature above 0"):
            hub_config(model, scheme, {OURS: {"temperature": wrong}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    model = Model(tiny_config(initializer_range=0.35))
    path = tmp_path_factory.mktemp("model") / "hub"
    parts = (model, model.init(3), LabelScheme(TAGS), tiny_tokenizer())
    return export_folder(path, *parts, temperature=2.0)


@pytest.fixture(scope="module")
def ner(folder):
    return pipeline("ner", model=folder)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_calibration_changes_scores_but_not_entities(ner, strategy):
    plain = ner(TEXTS, aggregation_strategy=strategy)
    assert ner(TEXTS, aggregation_strategy=strategy, calibrated=False) == plain
    changed = ner(TEXTS, aggregation_strategy=strategy, calibrated=True)
    assert sum(map(len, plain)) >= 3
    pairs = [pair for a, b in zip(plain, changed, strict=True) for pair in zip(a, b, strict=True)]
    for one, other in pairs:
        assert {**one, "score": 0} == {**other, "score": 0}
    assert max(abs(one["score"] - other["score"]) for one, other in pairs) > 0.02


def test_calibrated_scores_are_those_of_divided_logits(folder, ner):
    from scipy.special import softmax

    text = TEXTS[0]
    reading = ner.texts.reader(ner.options).read([text], split=False, delimiter=" ")
    logits = ner.predictor.submit(reading.input_ids, reading.starts).result()
    kept = softmax(logits[reading.tokens.source] / 2.0, axis=-1).max(-1)
    found = ner(text, calibrated=True, ignore_labels=[])
    assert [e["score"] for e in found] == pytest.approx(kept.tolist(), abs=1e-6)


def test_calibrated_scores_require_a_temperature(folder, tmp_path):
    fields = json.loads((folder / "config.json").read_text())
    bare = tmp_path / "bare"
    model = Model(tiny_config())
    export_folder(bare, model, model.init(0), LabelScheme(TAGS), tiny_tokenizer(), fields=fields)
    with pytest.raises(ValueError, match="needs a temperature"):
        pipeline("ner", model=bare, calibrated=True)
    with pytest.raises(ValueError, match="calibrated must be True or False"):
        pipeline("ner", model=folder, calibrated="yes")


def test_an_export_keeps_the_temperature(folder, ner, tmp_path):
    pytest.importorskip("flatbuffers")
    ner.export(tmp_path / "exported")
    again = load_exported(tmp_path / "exported", calibrated=True)
    ours = pipeline("ner", model=folder, calibrated=True)
    for one, other in zip(ours(TEXTS[0]), again(TEXTS[0]), strict=True):
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
