"""Scores against hand-made counts."""

import pytest

from flaxner.evaluation.metrics import score


def test_hand_counted():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["B-ORG", "O"], ["B-LOC", "I-LOC"]]
    predicted = [["B-PER", "I-PER", "O", "B-ORG"], ["B-ORG", "O"], ["B-LOC", "O"]]
    report = score(gold, predicted, words_in_corpus=8)
    # 4 gold, 4 predicted, 2 right: the person and the organisation.
    assert report.overall_precision == report.overall_recall == report.overall_f1 == 0.5
    assert report.overall_accuracy == 6 / 8
    assert report.per_type == {
        "LOC": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 2},
        "ORG": {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "support": 1},
        "PER": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1},
    }
    assert report.words_scored == report.words_in_corpus == 8
    assert report.to_dict()["mode"] == "conlleval"


def test_invalid_sequences_are_read_as_conlleval_does():
    report = score([["B-PER", "I-PER"]], [["I-PER", "I-PER"]], words_in_corpus=2)
    assert report.overall_f1 == 1.0


def test_a_type_found_only_in_predictions_lowers_precision():
    report = score([["B-PER", "O"]], [["B-PER", "B-MISC"]], words_in_corpus=2)
    assert report.overall_precision == 0.5
    assert report.per_type["MISC"]["support"] == 0


def test_nothing_to_find():
    report = score([["O", "O"]], [["O", "O"]], words_in_corpus=2)
    assert (report.overall_f1, report.overall_accuracy, report.per_type) == (0.0, 1.0, {})
    assert score([], [], words_in_corpus=0).words_scored == 0


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="sentence 0 has 1 gold tags and 2 predictions"):
        score([["O"]], [["O", "O"]], words_in_corpus=1)
