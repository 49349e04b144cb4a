"""Prediction files can hold any word and type, and publishing is tried out before training."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from flaxner.config.train import TrainConfig
from flaxner.embeddings.tagger_scores import read_run_tags
from flaxner.evaluation.predictions import Predicted, read_predictions, write_predictions
from flaxner.publishing.conversion import convert
from flaxner.publishing.history import read_run_predictions
from flaxner.runs.folder import RunFolder
from flaxner.training.cross_validation import pooled
from flaxner.training.preparation import load_corpora
from flaxner.training.run import train
from tests.conll import QUICK, sentences

HOSTILE = [
    "New York", " ", "", "\n", "a\nb", "\na", "\r", "a\r\nb", "\t", "\x85", "\u2028", "\u3000",
    "10\u00a0000", "\\u{20}", "\\u{}", "\\", "\\n", '"', "'", "#", "-X-", "-DOCSTART-", "O", "B-X",
    "\x00", "\x1c", "\x7f", "\ufeff", "e\u0301", "🙂", "\\u{ffffffff}", "\ud83d",
]  # fmt: skip
TYPES = ["Job Title", "a O", "x\ty", "-", "Ä\u00a0Z", "\\u{20}"]


def rows_of(words):
    tags = [f"{'BI'[i % 2]}-{TYPES[i % len(TYPES)]}" for i in range(len(words))]
    return Predicted(tuple(words), tuple(tags), tuple(reversed(tags)))


def test_hostile_words_and_types_survive_as_three_columns(tmp_path):
    made = [rows_of(HOSTILE), *(rows_of([word]) for word in HOSTILE)]
    notes = write_predictions(tmp_path / "x.conll", made)
    assert read_predictions(tmp_path / "x.conll") == made
    text = (tmp_path / "x.conll").read_text("utf-8")
    lines = text.splitlines()  # split at every Unicode line end
    assert all(len(line.split()) == 3 for line in lines if line)  # split at any white space
    assert lines.count("") == len(made) - 1
    assert not [line for line in lines if line.startswith("-X-")]
    assert notes == [
        "x.conll: characters that would break a line, such as white space inside words, are "
        "written as \\u{...} (first: New\\u{20}York for 'New York')"
    ]


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=[])), min_size=1), min_size=1))
def test_any_text_survives(tmp_path_factory, words):
    path = tmp_path_factory.getbasetemp() / "any.conll"
    made = [Predicted(tuple(s), ("O",) * len(s), ("O",) * len(s)) for s in words]
    write_predictions(path, made)
    assert read_predictions(path) == made
    assert all(len(line.split()) == 3 for line in path.read_text("utf-8").splitlines() if line)


def test_plain_words_stay_as_they_are(tmp_path):
    made = [Predicted(("Zoë", "\\o/", "#1", "it's"), ("B-PER", "O", "O", "O"), ("O",) * 4)]
    assert write_predictions(tmp_path / "x.conll", made) == []
    text = "Zoë B-PER O\n\\o/ O O\n#1 O O\nit's O O\n"
    assert (tmp_path / "x.conll").read_text("utf-8") == text


def test_sentences_without_words_leave_no_trace(tmp_path):
    made = [Predicted((), (), ()), Predicted(("a",), ("O",), ("O",)), Predicted((), (), ())]
    write_predictions(tmp_path / "x.conll", made)
    assert (tmp_path / "x.conll").read_text() == "a O O\n"


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("a\rb O O", ("a\rb", "O", "O")),
        ("10\u00a0000 O O", ("10\u00a0000", "O", "O")),
        ("New York B-LOC O", ("New York", "B-LOC", "O")),
        ("clerk B-Job Title I-Job Title", ("clerk", "B-Job Title", "I-Job Title")),
    ],
)
def test_files_of_earlier_versions_are_read(tmp_path, line, row):
    (tmp_path / "x.conll").write_bytes(f"{line}\n".encode())
    assert read_predictions(tmp_path / "x.conll") == [Predicted(*((part,) for part in row))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a O O\nb O\n", "x.conll:2: a line must hold word, gold and predicted tag"),
        ("a\nb O O\n", "x.conll:1: a line must hold word, gold and predicted tag"),
        ("a O O\n\n O O\n", "x.conll:3: the word is empty, or a line end that an earlier"),
        ("New B-x O B-LOC O\n", "x.conll:1: .* but this one is ambiguous"),
        ("a O O\nb O S-LOC\n", "x.conll:2: gold and predicted tags must be IOB2: got O, S-LOC"),
    ],
)
def test_lines_that_fit_no_prediction_file_are_refused(tmp_path, text, message):
    (tmp_path / "x.conll").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_predictions(tmp_path / "x.conll")


def test_a_file_saved_by_a_windows_editor_is_read(tmp_path):
    made = [Predicted((word,), ("B-X",), ("O",)) for word in HOSTILE]
    write_predictions(tmp_path / "x.conll", made)
    data = (tmp_path / "x.conll").read_bytes()
    (tmp_path / "x.conll").write_bytes(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"))
    assert read_predictions(tmp_path / "x.conll") == made


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """JSON lines with words that contain spaces and line ends, and types with spaces."""
    path = tmp_path_factory.mktemp("corpus") / "all.jsonl"
    spaced = {"PER": "Job Title", "LOC": "a\u00a0place", "ORG": "ORG"}
    with path.open("w") as file:
        for words, tags in sentences(24):
            tags = [tag[:2] + spaced[tag[2:]] if tag != "O" else tag for tag in tags]
            words = ["New York", "line\nend", *words, "\u2028."]
            file.write(json.dumps({"tokens": words, "ner_tags": ["O", "O", *tags, "O"]}) + "\n")
    return path


def test_a_run_on_such_words_is_published(corpus, tmp_path):
    config = TrainConfig(
        **{**QUICK, "epochs": 1.0, "select": "last"},
        train_file=str(corpus), validation_file=str(corpus), test_file=str(corpus),
        output_dir=str(tmp_path / "run"),
    )  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        train(config, console=Console(file=log, width=300))
    printed = (tmp_path / "log").read_text()
    assert "\ntest.conll: characters that would break a line" in printed
    assert "draft" not in printed
    run, test = RunFolder(tmp_path / "run"), load_corpora(config)["test"]
    read = read_run_predictions(run)["test"]
    assert [s.words for s in read] == [s.words for s in test]
    assert [s.gold for s in read] == [s.tags for s in test]
    assert read_run_tags(run, test) == [list(s.tags) for s in read]
    card = (run.hub / "README.md").read_text("utf-8")
    assert convert(tmp_path / "run", output_dir=tmp_path / "hub").notes == ()
    assert (tmp_path / "hub" / "README.md").read_text("utf-8") == card

    # Earlier versions wrote a line end in a word as it was, which broke the file.
    file = run.predictions / "test.conll"
    file.write_text(file.read_text("utf-8").replace("\\u{a}", "\n"), "utf-8")
    (note,) = convert(tmp_path / "run", output_dir=tmp_path / "old").notes
    assert note.startswith("the card has no confusion table and no errors: ")
    assert "### Confusion" not in (tmp_path / "old" / "README.md").read_text("utf-8")


def test_folds_are_pooled(tmp_path):
    folds = [RunFolder(tmp_path / name) for name in ("fold-1", "fold-2")]
    for fold in folds:
        rows = [Predicted((word,), ("B-Job Title",), ("B-Job Title",)) for word in HOSTILE]
        write_predictions(fold.predictions / "validation.conll", rows)
    report = pooled(folds)
    assert report["words_scored"] == 2 * len(HOSTILE)
    assert report["overall_f1"] == 1.0
    assert list(report["per_type"]) == ["Job Title"]


def test_an_unpublishable_run_is_refused_before_training(corpus, tmp_path, monkeypatch):
    from flaxner.publishing import model_card

    def broken(*arguments, **options):
        raise KeyError("types")

    monkeypatch.setattr(model_card, "card_metadata", broken)
    config = TrainConfig(
        **QUICK, train_file=str(corpus), held_out=0.2, output_dir=str(tmp_path / "r")
    )
    with pytest.raises(ValueError, match="the trained model could not be published: 'types'"):
        train(config, console=Console(quiet=True))
    assert not (tmp_path / "r").exists()
