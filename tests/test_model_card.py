"""The model card of a run, and what it says about the model's mistakes."""

import pytest

from flaxner.config.files import load_settings
from flaxner.config.train import TrainConfig
from flaxner.data.labels import LabelScheme
from flaxner.evaluation.mistakes import LONGEST, Beside, confusion, confusion_table
from flaxner.evaluation.predictions import Predicted, read_predictions
from flaxner.models.encoders import ENCODERS
from flaxner.publishing.model_card import has_scores, model_card
from flaxner.runs.folder import RunFolder
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
    about = {key: options.pop(key) for key in ("license", "language") if key in options}
    config = TrainConfig(dataset="user/corpus", output_dir="runs/x", **about)
    results = {"validation": REPORT, "train": TRAIN}
    scheme = LabelScheme.from_types(["PER", "LOC"])
    encoder = ENCODERS[options.pop("model_type", "bert")]
    return model_card(config, scheme, encoder, options.pop("results", results), **options)


def test_confusion_counted_by_hand():
    assert confusion(SENTENCES) == {
        ("PER", "LOC"): 1,
        ("PER", Beside.BOUNDARY): 1,
        ("LOC", Beside.MISSED): 1,
        (Beside.UNANNOTATED, "LOC"): 1,
    }


def test_types_named_like_a_kind_of_error_are_counted_as_types():
    """The types in a table of delays may be called missed; its trains are not missed entities."""
    gold = ("B-missed", "B-no entity", "B-wrong boundary", "O", "B-missed", "I-missed", "B-missed")
    found = ("B-missed", "B-missed", "B-wrong boundary", "B-missed", "B-missed", "O", "O")
    sentences = [Predicted(tuple("abcdefg"), gold, found)]
    table = confusion_table(sentences)
    assert table.columns == [
        *("missed", "no entity", "wrong boundary", "(wrong boundary)", "(missed)")
    ]
    assert table.rows == [
        ("missed", [1, 0, 0, 1, 1]),
        ("no entity", [1, 0, 0, 0, 0]),
        ("wrong boundary", [0, 0, 1, 0, 0]),
        ("(no entity)", [1, 0, 0, 0, 0]),
    ]
    text = card(predictions={"validation": sentences})
    assert "| **missed** | **1** | 0 | 0 | 1 | 1 |" in text
    assert "*(no entity)*: it found an entity where none is annotated" in text


def test_errors_in_long_sentences_are_errors():
    """They are too long for the table of errors, which does not make them right."""
    words = tuple(f"w{i}" for i in range(LONGEST + 1))
    rest = ("O",) * LONGEST
    wrong = Predicted(words, ("B-PER", *rest), ("O", *rest))
    right = Predicted(words, ("B-PER", *rest), ("B-PER", *rest))
    text = card(predictions={"validation": [wrong, right]})
    assert f"All errors on validation are in sentences of more than {LONGEST} words" in text
    assert "makes no errors" not in text
    assert "The model makes no errors on validation." in card(predictions={"validation": [right]})


def test_metadata_is_what_the_hub_reads():
    text = card(
        predictions={"validation": SENTENCES}, name="user/x", license="mit", language="en,de"
    )
    head = metadata(text)
    assert check_card(text) == ([], [])
    assert head["license"] == "mit"
    assert head["language"] == ["en", "de"]
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


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("license", "MIT License", "license must be a licence name used on the Hub"),
        ("language", "english", "language must be ISO 639 codes separated by commas"),
        ("language", "en de", "got 'en de'"),
    ],
)
def test_what_the_hub_would_refuse_is_refused_before_training(field, value, told):
    with pytest.raises(ValueError, match=told):
        TrainConfig(dataset="x", **{field: value})


def tables(text):
    """Return the rendered page's tables, as rows of (text, token types), and its code fences."""
    from markdown_it import MarkdownIt

    page = MarkdownIt("commonmark").enable("table").parse(text.split("\n---\n", 1)[1])
    found, inside = [], False
    for token in page:
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("th_open", "td_open"):
            inside = True
        elif token.type == "inline" and inside:
            cell = "".join(child.content for child in token.children)
            found[-1][-1].append((cell, {child.type for child in token.children}))
            inside = False
    return found, [token for token in page if token.type == "fence"]


def test_the_page_renders_whatever_the_words():
    """Words that look like Markdown, HTML or entities stay words; no table or fence breaks."""
    nasty = ("```", "|", "<b>", "&lt;", "*x*", "[a](b)", "`c`", "~~d~~", "#", "\\|", "$e$", "a_b_c")
    sentence = Predicted(nasty, ("B-PER", *["O"] * 11), ("O", "B-LOC", *["O"] * 10))
    text = card(predictions={"validation": [*SENTENCES, sentence]}, name="user/x", onnx=True)
    found, fences = tables(text)
    assert len(fences) == 4, "three snippets and the citation"
    assert all(fence.markup == "```" and fence.content.strip() for fence in fences)
    assert len(found) == 4, "scores, confusion, errors, settings"
    for rows in found:
        assert len(rows) > 1
        assert len({len(row) for row in rows}) == 1
    errors = {row[0][0]: row[0][1] for row in found[2]}
    assert errors[" ".join(nasty)] <= {"text", "text_special"}


def test_text():
    text = card(predictions={"validation": SENTENCES}, name="user/x")
    assert 'from_pretrained("user/x")' in text
    assert r"Anna (LOC), Bob (PER), in (LOC)" in text
    assert r"A\*b (LOC)" in text
    assert "| PER | 1.0000 | 0.5000 | 0.6667 | 2 |" in text
    assert "F1 on validation: **0.5000**." in text
    assert has_scores(text)


def test_a_card_says_when_weights_are_rounded_after_scoring():
    assert "rounded" not in card()
    assert "The weights here are rounded to bfloat16; the scores were measured" in card(
        dtype="bfloat16"
    )


def test_a_card_says_when_scores_were_not_computed_in_float32():
    told = "The scores were computed in bfloat16, like the training. In float32, as PyTorch"
    train = {**TRAIN, "precision": "bfloat16"}
    assert told in card(results={"validation": REPORT, "train": train})
    assert told not in card(results={"train": train}), "there are no scores"
    assert "were computed in" not in card(
        results={"validation": REPORT, "train": {**TRAIN, "precision": "float32"}}
    )


def test_a_card_has_the_whole_share_of_sentences_on_their_own():
    config = TrainConfig(
        dataset="user/corpus", output_dir="x", context="document", context_share=0.125
    )
    text = model_card(config, LabelScheme(("O",)), ENCODERS["bert"], {"train": TRAIN})
    assert "| sentences shown on their own | 12.5% |" in text


def test_a_card_names_the_versions_that_trained_the_model():
    """A run converted later, with other packages, still names the versions of its training."""
    train = {**TRAIN, "versions": {"flaxner": "0.0.1", "jax": "0.0.2"}}
    text = card(results={"validation": REPORT, "train": train})
    assert "Software: flaxner 0.0.1, jax 0.0.2. " in text
    assert "Software" not in card(), "the versions installed now may not be those of the training"


def test_a_card_of_an_unscored_model_claims_no_scores():
    text = card(results={"train": TRAIN}, dtype="bfloat16")
    assert "scores were" not in text
    assert "rounded" not in text
    assert "F1 on" not in text
    assert not has_scores(text)
    assert "has not been scored" in text


def test_a_split_without_entities_has_no_f1():
    """Shared tasks publish test files in which every tag is O."""
    nothing = {**REPORT, "per_type": {"PER": {**REPORT["per_type"]["PER"], "support": 0}}}
    text = card(results={"validation": REPORT, "test": nothing, "train": TRAIN})
    assert "F1 on validation" in text
    assert "### test" not in text
    assert [r["dataset"]["split"] for r in metadata(text)["model-index"][0]["results"]] == [
        "validation"
    ]
    assert not has_scores(card(results={"test": nothing, "train": TRAIN}))


def test_a_local_corpus_is_not_named_as_a_hub_dataset(tmp_path):
    file = tmp_path / "train.conll"
    file.write_text("a O\n")
    config = TrainConfig(train_file=str(file), output_dir="x")
    text = model_card(config, LabelScheme(("O",)), ENCODERS["bert"], {"train": TRAIN})
    assert "datasets" not in metadata(text)
    assert str(tmp_path) not in text


TWEETS = {"dataset": "user/corpus", "test_file": "runs/tweets.conll"}


@pytest.mark.parametrize(
    ("settings", "split", "hub", "name", "told"),
    [
        ({"dataset": "user/corpus"}, "test", "user/corpus", "user/corpus", "On `user/corpus`."),
        (TWEETS, "test", "custom", "tweets.conll", "F1 on test (`tweets.conll`): **0.5000**."),
        (TWEETS, "validation", "user/corpus", "user/corpus", "On `user/corpus`."),
        (
            {"dataset": "user/corpus", "held_out": 0.1}, "validation", "custom",
            "a held-out part of user/corpus", "On a held-out part of `user/corpus`.",
        ),
        (
            {"dataset": "user/corpus", "train_file": "x/more.conll"}, "test", "user/corpus",
            "user/corpus", "F1 on test (`user/corpus`): **0.5000**.",
        ),
        (
            {"dataset": "wikiann", "dataset_config": "de"}, "test", "wikiann",
            "wikiann (de)", "On `wikiann (de)`.",
        ),
        ({"dataset": ["a/b", "c/d"]}, "test", "custom", "a/b and c/d", "On `a/b` and `c/d`."),
        (
            {"dataset": "a/b", "drop_types": ["MISC"]}, "test", "custom",
            "a/b, with some types renamed or left out",
            "On `a/b`, with some types renamed or left out.",
        ),
        ({"dataset": "a/b", "dataset_config": ""}, "test", "a/b", "a/b", "On `a/b`."),
    ],
)  # fmt: skip
def test_scores_name_the_data_they_were_measured_on(settings, split, hub, name, told):
    config = TrainConfig(output_dir="runs/x", **settings)
    scheme = LabelScheme.from_types(["PER"])
    text = model_card(config, scheme, ENCODERS["bert"], {split: REPORT, "train": TRAIN})
    measured = metadata(text)["model-index"][0]["results"][0]["dataset"]
    assert (measured["type"], measured["name"]) == (hub, name)
    assert measured.get("config") == (settings.get("dataset_config") or None)
    assert told in text
    assert "is cut by the plain PyTorch pipeline" not in text  # that is, at model_max_length


def test_a_local_folder_is_not_named_as_a_hub_model(tmp_path, monkeypatch):
    for name in ("models/mine", "data/mine"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(model="models/mine", dataset=["data/mine", "user/x"], output_dir="run")
    RunFolder("run").write_settings(config)
    (tmp_path / "wnut").mkdir()  # created for the results on a Hub data set
    RunFolder("wnut").write_settings(config.replace(dataset="wnut", output_dir="wnut"))
    assert load_settings("wnut/config.toml")["dataset"] == "wnut"
    monkeypatch.chdir("/")
    config = TrainConfig(**load_settings(tmp_path / "run" / "config.toml"))
    text = model_card(config, LabelScheme(("O",)), ENCODERS["bert"], {"train": TRAIN})
    assert "base_model" not in metadata(text)
    assert metadata(text)["datasets"] == ["user/x"]
    assert "from `mine` on `mine` and `user/x`" in text


def test_predictions_file(tmp_path):
    path = tmp_path / "test.conll"
    path.write_text("a B-X O\nb O O\n\nc O O\n")
    first, second = read_predictions(path)
    assert first == Predicted(("a", "b"), ("B-X", "O"), ("O", "O"))
    assert second.words == ("c",)
    path.write_text("a O\n")
    with pytest.raises(ValueError, match=r"test.conll:1: a line must hold"):
        read_predictions(path)


@pytest.mark.parametrize("model_type", ENCODERS)
def test_the_card_names_the_family_and_cites_its_paper(model_type):
    text = card(model_type=model_type)
    encoder = ENCODERS[model_type]
    assert f"\n{encoder.title} with a token classification head" in text
    assert f"```bibtex\n{encoder.citation}\n```" in text
    assert f"\n- {model_type}\n" in text.split("---")[1]
    assert model_type == "bert" or "devlin" not in text
