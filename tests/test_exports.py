"""Exported pipelines, scores of any model, and the commands."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest

import flaxner
from flaxner import terminal
from flaxner.evaluation.classifier_scores import evaluate
from flaxner.inference.artefact import WEIGHT_FORMATS
from flaxner.inference.opening import load_exported
from flaxner.inference.pipeline import pipeline
from flaxner.inference.printing import as_pretty, texts_from
from flaxner.publishing.serving_export import export_model
from tests import scripts
from tests.conll import sentences, write_conll
from tests.families import each_network
from tests.pipelines import SCORES, largest_difference, make_folder
from tests.scripts import SCRIPTS
from tests.wordpiece import TEXTS, tiny_tokenizer


@pytest.fixture(scope="module")
def ner(folder):
    return pipeline("ner", model=folder, aggregation_strategy="simple")


def test_an_export_gives_the_answers_of_the_pipeline(ner, tmp_path):
    texts = [*TEXTS, "", " ".join(TEXTS * 4)]
    sizes = {}
    for weights in WEIGHT_FORMATS:
        path = ner.export(tmp_path / weights, weights=weights)
        loaded = load_exported(path, aggregation_strategy="simple")
        sizes[weights] = (path / "weights.safetensors").stat().st_size
        words = [text.split() for text in TEXTS]
        if weights == "float32":
            assert largest_difference(loaded(texts), ner(texts)) < SCORES
        pairs = zip(loaded.predict_words(words), ner.predict_words(words), strict=True)
        same = [a == b for x, y in pairs for a, b in zip(x, y, strict=True)]
        assert np.mean(same) > 0.85
        with pytest.raises(ValueError, match="is already an export"):
            loaded.export(tmp_path / "again")
    assert sizes["float32"] > 1.7 * sizes["bfloat16"] > 1.4 * sizes["int8"]


@each_network
def test_every_family_is_exported(family, tmp_path):
    """For rows of any length, whatever the network computes from the length."""
    model = family.model(initializer_range=0.35)
    network = model.bind(model.init(3))
    ner = pipeline("ner", model=network, tokenizer=tiny_tokenizer(), ignore_labels=[])
    loaded = load_exported(ner.export(tmp_path / "served"), ignore_labels=[])
    for text in ("London", f"[PAD] {TEXTS[0]} [UNK] [PAD]", " ".join(TEXTS)):
        assert largest_difference([loaded(text)], [ner(text)]) < SCORES


def test_an_export_runs_without_the_code_of_the_model(ner, tmp_path):
    """In a new process that cannot import our models, flax, torch or the classifier."""
    path = ner.export(tmp_path / "served", weights="int8")
    blocked = (
        "flaxner.models.network",
        "flaxner.models.bert",
        "flaxner.inference.classifier",
        "flax",
        "torch",
    )
    program = f"""
import sys
for name in {blocked}:
    sys.modules[name] = None
from flaxner import load_exported
print(load_exported({str(path)!r}, aggregation_strategy="word")({TEXTS[1]!r}))
"""
    made = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    expected = load_exported(path, aggregation_strategy="word")(TEXTS[1])
    assert made.stdout.strip() == str(expected)


def test_export_reports_its_size_and_loss_of_f1(folder, tmp_path):
    corpus = write_conll(tmp_path / "test.conll", sentences(12))
    made = export_model(folder, tmp_path / "served", weights="int8", file=corpus)
    assert made["f1_loss"] == made["model_f1"] - made["overall_f1"]
    assert made["model_f1"] == evaluate(folder, file=corpus).report.overall_f1
    assert made["overall_f1"] == evaluate(tmp_path / "served", file=corpus).report.overall_f1
    files = [f.stat().st_size for f in (tmp_path / "served").iterdir()]
    assert made["megabytes"] == round(sum(files) / 1e6, 1)
    assert "overall_f1" not in export_model(folder, tmp_path / "plain", weights="bfloat16")


def test_bad_exports_are_refused(ner, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(ValueError, match="is not a flaxner export"):
        ner.export(tmp_path / "mine")
    with pytest.raises(ValueError, match="weights must be one of"):
        ner.export(tmp_path / "new", weights="int4")
    with pytest.raises(ValueError, match="is not an exported pipeline"):
        load_exported(tmp_path / "mine")


def test_evaluate_counts_every_word_and_reports_differing_types(folder, ner, tmp_path):
    made = sentences(12)
    corpus = write_conll(tmp_path / "test.conll", made)
    result = evaluate(folder, file=corpus, output_dir=tmp_path / "out")
    words = sum(len(w) for w, _ in made)
    assert result.report.words_scored == result.report.words_in_corpus == words
    assert any("does not have ORG" in note for note in result.notes)
    assert result.predicted == ner.predict_words([w for w, _ in made], decoder="argmax")
    saved = json.loads((tmp_path / "out" / "results.json").read_text())
    assert saved["overall_f1"] == result.report.overall_f1
    lines = (tmp_path / "out" / "predictions.conll").read_text().splitlines()
    assert len([line for line in lines if line]) == words

    renamed = [
        (w, [t.replace("PER", "person").replace("LOC", "location") for t in tags])
        for w, tags in made
    ]
    other = evaluate(ner, file=write_conll(tmp_path / "names.conll", renamed))
    assert other.report.overall_f1 == result.report.overall_f1
    assert any("the model's PER is scored as the corpus's person" in note for note in other.notes)

    foreign = [(w, [t.replace("-", "-X") for t in tags]) for w, tags in made]
    with pytest.raises(ValueError, match="no entity type in common"):
        evaluate(ner, file=write_conll(tmp_path / "foreign.conll", foreign))
    with pytest.raises(ValueError, match="or a dataset with a split"):
        evaluate(ner)


def test_evaluate_uses_the_windows_of_training(tmp_path):
    made = sentences(12)
    joined = [([w for ws, _ in made for w in ws], [t for _, ts in made for t in ts])]
    corpus = write_conll(tmp_path / "long.conll", joined)
    folder = make_folder(tmp_path / "hub", max_length=24)
    results = {
        length: evaluate(folder, file=corpus, max_length=length, output_dir=tmp_path / str(length))
        for length in (None, 24, 64)
    }
    assert results[None].predicted == results[24].predicted != results[64].predicted
    saved = json.loads((tmp_path / "None" / "results.json").read_text())
    assert (saved["max_length"], saved["scheme"]) == (24, "IOB2")


def test_evaluate_converts_other_schemes_to_iob2(folder, monkeypatch, tmp_path):
    """A model that is right in IOB1, BIOES or BILOU is scored as right on every word."""
    words = [("Ann", "Lee", "Bo", "met", "Cy", "in", "Rome")]
    gold = ["B-PER", "I-PER", "B-PER", "O", "B-PER", "O", "B-LOC"]
    told = {
        "IOB1": ["I-PER", "I-PER", "B-PER", "O", "I-PER", "O", "I-LOC"],
        "BIOES": ["B-PER", "E-PER", "S-PER", "O", "S-PER", "O", "S-LOC"],
        "BILOU": ["B-PER", "L-PER", "U-PER", "O", "U-PER", "O", "U-LOC"],
    }
    corpus = write_conll(tmp_path / "test.conll", [(words[0], gold)])
    for scheme, tags in told.items():
        names = tuple(dict.fromkeys([*tags, "B-LOC"]))[:5]
        ner = pipeline("ner", model=folder, id2label=names, scheme=scheme)
        monkeypatch.setattr(ner, "predict_words", lambda *_, tags=tags, **__: [tags])
        result = evaluate(ner, file=corpus)
        assert result.report.overall_f1 == result.report.overall_accuracy == 1
        assert result.predicted == [gold]


def test_entities_are_marked_in_the_text():
    entities = [{"entity_group": "LOC", "start": 3, "end": 9}]
    assert as_pretty("in Berlin!", entities, colour=False) == "in [Berlin LOC]!"
    assert "\033[" in as_pretty("in Berlin!", entities, colour=True)


def test_public_names():
    assert flaxner.pipeline is pipeline
    assert flaxner.evaluate is evaluate
    assert flaxner.load_exported is load_exported
    with pytest.raises(AttributeError):
        flaxner.nothing  # noqa: B018


def run(script, *arguments, stdin=None):
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, input=stdin, check=False)


def test_predict_prints_one_line_per_text(folder, ner, tmp_path):
    lines = "\n".join(TEXTS) + "\n\n"
    made = run("predict.py", "--model", folder, "-", stdin=lines)
    assert made.returncode == 0, made.stderr
    objects = [json.loads(line) for line in made.stdout.splitlines()]
    assert [o["text"] for o in objects] == list(TEXTS)
    expected = ner(list(TEXTS), aggregation_strategy="word")
    assert [[e["text"] for e in o["entities"]] for o in objects] == [
        [e["text"] for e in entities] for entities in expected
    ]
    (tmp_path / "texts").write_text(lines)
    texts = ("--file", tmp_path / "texts")
    made = scripts.run("predict.py", "--model", folder, *texts, "--format", "conll")
    assert len(made.stdout.split("\n\n")) == len(TEXTS) + 1
    made = scripts.run("predict.py", "--model", folder, TEXTS[0], "--format", "pretty")
    assert made.stdout == as_pretty(TEXTS[0], expected[0], colour=False) + "\n"


def test_the_commands_accept_exports(folder, ner, tmp_path):
    made = run("export.py", "--model", folder, "--output-dir", tmp_path / "served")
    assert json.loads(made.stdout)["folder"] == str(tmp_path / "served"), made.stderr
    made = scripts.run("predict.py", "--model", tmp_path / "served", TEXTS[0])
    [expected] = ner([TEXTS[0]], aggregation_strategy="word")
    assert [e["text"] for e in json.loads(made.stdout)["entities"]] == [e["text"] for e in expected]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    made = scripts.run("export.py", "--model", folder, "--output-dir", tmp_path / "mine")
    assert made.returncode == 2
    assert "is not a flaxner export" in made.stderr
    with pytest.raises(ValueError, match=r"open it with flaxner\.load_exported"):
        pipeline("ner", model=tmp_path / "served")


def test_a_byte_order_mark_is_not_text(tmp_path):
    (tmp_path / "texts").write_text("Angela\nx\n", "utf-8-sig")
    assert list(texts_from(str(tmp_path / "texts"), [])) == ["Angela", "x"]


def test_a_byte_order_mark_on_standard_input_is_not_text(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("\ufeffAngela\n\ufeffx\n"))
    assert list(texts_from(None, ["-"])) == ["Angela", "\ufeffx"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\ufeff\nx\n"))
    assert list(texts_from("-", [])) == ["x"]


def test_other_bytes_than_utf_8_on_standard_input_are_refused(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(b"M\xfcller\n"), "utf-8", "surrogateescape")
    monkeypatch.setattr("sys.stdin", stream)  # as Python opens it in the locale C
    terminal.settle()
    with pytest.raises(ValueError, match="cannot read standard input: it is not UTF-8"):
        list(texts_from(None, ["-"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "/nowhere", "text"], "there is no model folder"),
        (["--model", "/nowhere", "--file", "/no/file"], "cannot read /no/file: No such file"),
        (["--model", "/nowhere", "--file", "/dev/null"], "has no text"),
        (["--model", "/nowhere"], "give either texts, or one --file"),
        (["--model", "/nowhere", "a", "--format", "html"], "choose from 'jsonl'"),
        (
            ["--model", "/nowhere", "a", "--format", "conll", "--aggregation-strategy", "max"],
            "--format conll prints the tag of every word",
        ),
    ],
)
def test_predict_answers_mistakes_with_one_line(arguments, message):
    made = scripts.run("predict.py", *arguments)
    assert made.returncode == 2
    assert message in made.stderr
    assert len(made.stderr.strip().splitlines()) == 1
