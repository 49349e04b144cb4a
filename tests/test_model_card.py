"""The card of a run, and what it tells about the model's mistakes."""

import pytest

from flaxner.config import TrainConfig
from flaxner.labels import LabelScheme
from flaxner.mistakes import BOUNDARY, MISSED, SPURIOUS, Predicted, confusion, read_predictions
from flaxner.model_card import has_scores, model_card
from tests.hub_store import check_card, metadata

SENTENCES = [
    Predicted(
        ("Anna", "met", "Bob", "Lee", "in", "A*b", "."),
        ("B-PER", "O", "B-PER", "I-PER", "O", "B-LOC", "O"),
        ("B-LOC", "O", "B-PER", "O", "B-LOC", "O", "O"),
    )
]
REPORT = {f"overall_{name}": 0.5 for name in ("precision", "recall", "f1", "accuracy")}
REPORT["per_type"] = {"PER": {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 2}}
TRAIN = {"steps": 3, "best_step": 2, "seconds": 1.5}


def card(**options):
    config = TrainConfig(dataset="user/corpus", output_dir="runs/x")
    results = {"validation": REPORT, "train": TRAIN}
    scheme = LabelScheme.from_types(["PER", "LOC"])
    return model_card(config, scheme, options.pop("results", results), **options)


def test_confusion_counted_by_hand():
    assert confusion(SENTENCES) == {
        ("PER", "LOC"): 1,
        ("PER", BOUNDARY): 1,
        ("LOC", MISSED): 1,
        (SPURIOUS, "LOC"): 1,
    }


def test_metadata_is_what_the_hub_reads():
    text = card(
        predictions={"validation": SENTENCES}, name="user/x", license="mit", language=["en"]
    )
    head = metadata(text)
    assert check_card(text) == ([], [])
    assert head["library_name"] == "transformers"
    assert head["pipeline_tag"] == "token-classification"
    assert head["base_model"] == "google-bert/bert-base-cased"
    assert head["datasets"] == ["user/corpus"]
    assert {"jax", "flax"} <= set(head["tags"])
    assert head["widget"] == [{"text": "Anna met Bob Lee in A*b."}]
    metrics = head["model-index"][0]["results"][0]["metrics"]
    assert {m["type"]: m["value"] for m in metrics} == dict.fromkeys(
        ("precision", "recall", "f1", "accuracy"), 0.5
    )


def test_text():
    text = card(predictions={"validation": SENTENCES}, name="user/x")
    assert 'from_pretrained("user/x")' in text
    assert r"Anna (LOC), Bob (PER), in (LOC)" in text
    assert r"A\*b (LOC)" in text
    assert "| PER | 1.0000 | 0.5000 | 0.6667 | 2 |" in text
    assert has_scores(text)


def test_a_model_without_scores_claims_none():
    text = card(results={"train": TRAIN})
    assert not has_scores(text)
    assert "has not been scored" in text


def test_a_local_corpus_is_no_dataset_of_the_hub(tmp_path):
    file = tmp_path / "train.conll"
    file.write_text("a O\n")
    config = TrainConfig(train_file=str(file), output_dir="x")
    text = model_card(config, LabelScheme(("O",)), {"train": TRAIN})
    assert "datasets" not in metadata(text)
    assert str(tmp_path) not in text


def test_predictions_file(tmp_path):
    path = tmp_path / "test.conll"
    path.write_text("a B-X O\nb O O\n\nc O O\n")
    first, second = read_predictions(path)
    assert first == Predicted(("a", "b"), ("B-X", "O"), ("O", "O"))
    assert second.words == ("c",)
    path.write_text("a O\n")
    with pytest.raises(ValueError, match=r"test.conll:1: a line must hold"):
        read_predictions(path)
