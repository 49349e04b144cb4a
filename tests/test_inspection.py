"""`train.py --inspect`: its counts, checked by hand; it refuses little and writes nothing."""

import io
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from flaxner.config.command_line import parse_train_config
from flaxner.config.train import TrainConfig
from flaxner.data.batches import TrainBatches
from flaxner.data.corpus import Corpus, Sentence, read_corpus
from flaxner.data.labels import LabelScheme
from flaxner.data.segments import align
from flaxner.data.tokenizer_training import train_wordpiece
from flaxner.inspection import measures
from flaxner.inspection.report import Report, inspect
from flaxner.models.scratch import scratch_tokenizer
from flaxner.training.preparation import resolve
from tests.conll import sentences, write_conll

TRAIN = Path(__file__).resolve().parent.parent / "scripts" / "train.py"


def corpus(*pairs, **about):
    made = [Sentence(tuple(words.split()), tuple(tags.split())) for words, tags in pairs]
    return Corpus(made, "x", "IOB2", 0, **about)


KNOWN = corpus(
    ("Paris met Paris in Paris .", "B-PER O B-LOC O O O"),
    ("New York won", "B-ORG I-ORG O"),
    ("New York sleeps in New York", "B-LOC I-LOC O O O O"),
    ("New people", "O O"),
    ("New people", "O O"),
)
OTHER = corpus(
    ("New York won", "O O O"),
    ("New people", "O O"),
    ("Paris met Paris in Paris .", "B-PER O B-LOC O O O"),
    ("Ann", "B-PER"),
)


def test_forms_with_several_readings():
    found = measures.ambiguous_forms(KNOWN)
    assert [(form.text, dict(form.readings)) for form in found] == [
        ("New York", {"ORG": 1, "LOC": 1, "O": 1}),
        ("Paris", {"PER": 1, "LOC": 1, "O": 1}),
    ]
    many = corpus(*[("Rome", "B-LOC")] * 5, ("Rome", "O"), ("Ann Ann", "B-PER O"), ("Bo", "B-PER"))
    assert [form.text for form in measures.ambiguous_forms(many)] == ["Ann", "Rome"]
    # The last word of a sentence is no occurrence of longer forms that begin with it.
    last = corpus(("New York Post", "B-ORG I-ORG I-ORG"), ("New", "B-LOC"), ("the New", "O O"))
    (form,) = measures.ambiguous_forms(last)
    assert dict(form.readings) == {"LOC": 1, "O": 1}


def test_leakage():
    known: measures.Known = {}
    assert measures.repeated(KNOWN, known, add=True) == (1, 0, 0, ("New", "people"), ())
    found = measures.repeated(OTHER, known)
    longest = ("Paris", "met", "Paris", "in", "Paris", ".")
    assert found == (3, 1, 1, longest, ("New", "York", "won"))
    twice = corpus(("Ann a b c d", "B-PER O O O O"), ("Ann a b c d", "O O O O O"), ("x", "O"))
    assert measures.repeated(twice, {}, add=True) == (1, 1, 1, *[("Ann", "a", "b", "c", "d")] * 2)
    names = set(measures.entities(KNOWN))
    assert [name in names for name in measures.entities(OTHER)] == [True, True, False]


def test_types_missing_from_a_split():
    types = {"train": corpus(("a", "B-X")), "test": corpus(("a b", "B-X B-Y"))}
    assert measures.type_differences(types) == ["Y is in test, not in train; training refuses this"]
    assert measures.type_differences({"train": types["test"], "test": types["train"]}) == [
        "Y is in train, not in test"
    ]


def test_histogram_of_lengths():
    assert measures.histogram(np.asarray([3, 8, 9, 16, 17, 40])) == [
        (1, 8, 2),
        (9, 16, 2),
        (17, 32, 1),
        (33, 64, 1),
    ]


def test_the_plan_matches_the_run(tmp_path):
    """Steps, tokens and windows equal those of the batches in training."""
    path = write_conll(tmp_path / "a.conll", sentences(40))
    config = resolve(TrainConfig(train_file=str(path), epochs=1.5, batch_size=6, max_length=8))
    train = read_corpus(path)
    tokenizer = scratch_tokenizer("flaxner:tiny", train)
    whole = measures.whole_sentences(train, tokenizer)
    plan = measures.make_plan(config, train, whole, tokenizer)
    segments = align(train.sentences, tokenizer, LabelScheme.from_types(train.types), 8)
    batches = TrainBatches(segments, 6, 8, 1.5, 0, multiple=jax.device_count(), level=True)
    tokens = sum(batches.tokens_at(step) for step in range(batches.num_steps))
    assert (plan.steps, plan.steps_per_epoch, plan.tokens) == (11, 7, tokens)
    assert (plan.fill, plan.windowed) == (batches.fill(), segments.windowed)
    assert plan.windowed == (whole.lengths > 8).sum() > 0
    assert plan.seconds is None


def test_time_is_estimated_from_an_identical_run_only(tmp_path):
    config = resolve(TrainConfig(dataset="flaxner:embedded", output_dir=str(tmp_path)))
    (tmp_path / "config.toml").write_text(config.replace(row_length=128).to_toml())
    machine = {"devices": jax.device_count(), "device_kind": jax.devices()[0].device_kind}
    results = {"train": {"tokens_per_second": 50.0, "best_step": 1, **machine}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    train = corpus(("Ann", "B-PER"))
    tokenizer = scratch_tokenizer("flaxner:tiny", train)
    whole = measures.whole_sentences(train, tokenizer)

    def plan(**changes):
        return measures.make_plan(config.replace(**changes), train, whole, tokenizer)

    assert plan().seconds == pytest.approx(plan().tokens / 50)
    said = io.StringIO()
    Report(Console(file=said))._plan(config, plan())
    assert f"evaluations included, at the speed of the run in {tmp_path}" in said.getvalue()
    assert plan(batch_size=8).seconds is None
    results["train"]["device_kind"] = "another"
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert plan().seconds is None


def shown(config, capsys, **options):
    inspect(config, console=Console(**options))
    return capsys.readouterr().out


def test_the_printed_report(tmp_path, capsys):
    bad = tmp_path / "bad.conll"
    bad.write_text("[red]Ann I-PER\nleft O\n\nBo B-XX\n")
    made = sentences(12)
    made[-1] = (made[0][0], ["O"] * len(made[0][0]))
    words = sum(len(words) for words, _ in made)
    entities = sum(tag.startswith("B-") for _, tags in made for tag in tags)
    files = [str(write_conll(tmp_path / "a.conll", made)), str(bad)]
    flags = ["--model", "flaxner:tiny", "--train-file", files[0], "--test-file", files[1]]
    config = parse_train_config([*flags, "--inspect", "--output-dir", str(tmp_path / "run")])
    said = shown(config, capsys)
    lines = [line.split() for line in said.splitlines()]
    assert ["train", "12", str(words), str(entities), "0", "IOB2"] in lines
    assert ["test", "2", "3", "2", "1", "IOB2"] in lines, "an I- without a B- should be repaired"
    assert ["XX", "0", "1"] in lines
    assert "XX is in test, not in train; training refuses this" in said
    again = 12 - len({tuple(words) for words, _ in made})
    assert again > 0
    before = f"{again} of 12 sentences of the training split have occurred before"
    assert f"{before} (1 of them with other tags)\n  for example: {' '.join(made[0][0])}\n" in said
    step = "12 sentences, the whole corpus (--batch-size 32)"
    assert f"Training: 3 steps of {step} (1 per epoch, 3 epochs)" in said
    assert "Time: unknown" in said
    assert said.isascii(), "should be plain if not a terminal"
    assert "─" in shown(config, capsys, force_terminal=True)
    assert not (tmp_path / "run").exists()


def test_words_that_exceed_a_window_are_reported(tmp_path, capsys):
    made = [*sentences(12), (["Ann", "-" * 40], ["B-PER", "O"])]
    path = write_conll(tmp_path / "a.conll", made)
    config = TrainConfig(model="flaxner:tiny", train_file=str(path), max_length=32)
    said = shown(config, capsys)
    assert f"note: 1 word of {path} has more tokens than fit a window of 32; the rest" in said
    assert "more tokens" not in shown(config.replace(max_length=64), capsys)


def test_the_steps_of_a_fold_are_reported(tmp_path, capsys):
    """Part of the sentences, four times; not all of them once."""
    path = write_conll(tmp_path / "a.conll", sentences(40))
    shared = {"model": "flaxner:tiny", "train_file": str(path), "batch_size": 5, "epochs": 1.0}
    said = shown(TrainConfig(**shared, cross_validation=4), capsys)
    assert "Training: 7 steps of" in said
    assert "; about as much for each of the 4 folds" in said
    said = shown(TrainConfig(**shared, seeds=5), capsys)
    assert "Training: 8 steps of" in said
    assert "; as much for each of the 5 seeds" in said


def test_without_a_tokenizer_the_rest_is_reported(tmp_path, capsys):
    path = write_conll(tmp_path / "a.conll", sentences(12))
    config = TrainConfig(model=str(tmp_path / "nowhere"), train_file=str(path))
    said = shown(config, capsys)
    assert "Lengths, fill and steps require a tokenizer: " in said
    assert "has no loadable tokenizer" in said
    assert "Most ambiguous of" in said


@pytest.mark.parametrize("lowercase", [False, True])
def test_a_tokenizer_suffices_and_its_casing_is_reported(tmp_path, capsys, lowercase):
    made = sentences(40)
    path = write_conll(tmp_path / "a.conll", made)
    tokenizer = train_wordpiece((" ".join(words) for words, _ in made), 300, lowercase=lowercase)
    tokenizer.save_pretrained(tmp_path / "model")
    config = TrainConfig(model=str(tmp_path / "model"), train_file=str(path))
    said = shown(config, capsys)
    assert "Training: 6 steps" in said
    assert ("note: " in said) == lowercase


def test_the_command_line(tmp_path):
    good = write_conll(tmp_path / "good", sentences(8))
    command = [sys.executable, str(TRAIN), "--inspect", "--model", "flaxner:tiny"]
    command += ["--train-file", str(good)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Entities of each type" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["good"]


@pytest.mark.shared
def test_a_real_corpus_counted_independently(shared_data):
    """Ambiguous forms of WNUT-17, counted independently from its lines."""
    path = shared_data / "wnut17" / "train.conll"
    blocks = path.read_text("utf-8").replace("\t\n", "\tO\n").split("\n\n")
    readings = Counter()
    for block in blocks:
        for line in block.split("\n"):
            if line.strip():
                readings[tuple(line.split("\t")[:2])] += 1
    forms = {form.text: form.readings for form in measures.ambiguous_forms(read_corpus(path))}
    assert forms["God"] == {"person": readings["God", "B-person"], "O": readings["God", "O"]}
