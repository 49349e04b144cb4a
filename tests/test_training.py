"""End to end on a tiny corpus: train, save, resume, convert, use."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

from flaxner.config.command_line import parse_train_config
from flaxner.config.train import TrainConfig
from flaxner.publishing.conversion import SavedRun, convert
from flaxner.reporting.record import read_speed
from flaxner.runs.checkpoint import Checkpoints
from flaxner.training.outcome import divergence
from flaxner.training.preparation import prepare
from flaxner.training.run import train
from tests.compare import assert_close
from tests.conll import QUICK, sentences, write_conll
from tests.runs import start, start_and_read


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    files = {
        "train_file": write_conll(folder / "train.conll", sentences(48)),
        "validation_file": write_conll(folder / "dev.conll", sentences(16, shift=1)),
        "test_file": write_conll(folder / "test.conll", sentences(16, shift=2)),
    }
    return {
        **{name: str(path) for name, path in files.items()},
        **QUICK,
        "epochs": 3.0,
    }


@pytest.fixture(scope="module")
def finished(settings, tmp_path_factory):
    return start(settings, tmp_path_factory.mktemp("runs") / "whole")


def test_a_model_that_finds_nothing_is_reported(tmp_path):
    """With rare entities and few steps all is O, and a table of zeros does not reveal the cause."""
    plain = (["It", "rained", "for", "three", "days", "."], ["O"] * 6)
    made = [plain] * 31 + [(["Berlin", "slept", "."], ["B-LOC", "O", "O"])]
    corpus = str(write_conll(tmp_path / "train.conll", made))
    files = {"train_file": corpus, "validation_file": corpus, "test_file": corpus}
    run, told = start_and_read({**QUICK, **files}, tmp_path / "run", epochs=2.0, max_length=16)
    assert "the model finds no entities: it has hardly learnt anything; try more --epochs, " in told
    last = read_speed(run.output_dir / "speed.jsonl")[-1]["step"]
    assert run.results["train"]["best_step"] == last, "of the empty models, the last one is kept"


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        (
            [2.3, 1316.0, 0.9],
            "was 2.3 at step 10, 1316 at step 20 and 0.9 at the last, 30; try",
        ),
        ([0.01, 0.2, 0.1], None),  # a trained model that is trained further
        ([2.3, 2.4, 2.35], None),  # few steps
        ([5.0, 4.0, 3.0], None),  # a model trained on something else
        ([], None),
    ],
    ids=str,
)
def test_training_that_diverges_without_infinity_is_reported(tmp_path, losses, told):
    """The quick start at a rate of 5 ended with a loss of 0.9, an F1 of 0.08, and not a word."""
    log = tmp_path / "metrics.jsonl"
    lines = [{"step": 10 * i, "loss": loss} for i, loss in enumerate(losses, 1)]
    log.write_text("".join(f"{json.dumps(line)}\n" for line in [*lines, {"step": 30, "f1": 0.08}]))
    said = divergence(log, labels=9)
    assert [told in line for line in said] == ([True] if told else [])


def test_a_run_learns_and_leaves_the_promised_files(finished):
    folder, results = finished.output_dir, finished.results
    names = {"config.toml", "checkpoints", "metrics.jsonl", "speed.jsonl", "results.json"}
    names |= {"predictions", "hub"}
    assert names <= {path.name for path in folder.iterdir()}
    assert json.loads((folder / "results.json").read_text()) == results
    assert results["validation"]["overall_f1"] > 0.8
    hub = {path.name for path in (folder / "hub").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= hub
    assert not list(folder.rglob(".*.tmp*"))


def test_every_word_scored_once(finished, settings):
    for split in ("validation", "test"):
        report = finished.results[split]
        lines = Path(settings[f"{split}_file"]).read_text().splitlines()
        assert report["words_scored"] == report["words_in_corpus"] == sum(map(bool, lines))


def test_predictions_are_the_scored_ones(finished, settings):
    from seqeval.metrics import f1_score

    blocks = (finished.output_dir / "predictions" / "test.conll").read_text().split("\n\n")
    rows = [[line.split(" ") for line in block.splitlines()] for block in blocks]
    assert [r[0] for s in rows for r in s] == [w for words, _ in sentences(16, 2) for w in words]
    gold, predicted = [[r[1] for r in s] for s in rows], [[r[2] for r in s] for s in rows]
    assert f1_score(gold, predicted) == pytest.approx(finished.results["test"]["overall_f1"])


def test_metrics_have_every_step_once(finished):
    lines = [json.loads(line) for line in (finished.output_dir / "metrics.jsonl").open()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 19))
    assert [line["step"] for line in lines if line.get("split") == "validation"] == [6, 12, 18]


def test_speed_has_every_token_once(finished):
    """In a file of its own, in which the seconds never decrease."""
    speed = read_speed(finished.output_dir / "speed.jsonl")
    metrics = [json.loads(line) for line in (finished.output_dir / "metrics.jsonl").open()]
    assert sum(line["tokens"] for line in speed) == sum(line.get("tokens", 0) for line in metrics)
    seconds = [line["seconds"] for line in speed]
    assert seconds == sorted(seconds)
    assert seconds[-1] <= finished.results["train"]["seconds"] + 1


def test_compilations_are_counted(finished):
    """One compilation per program and shape, three shapes at most."""
    train_results = finished.results["train"]
    assert train_results["compilations"] == len(train_results["shapes"]) <= 3


def test_the_best_model_is_exported(finished):
    lines = [json.loads(line) for line in (finished.output_dir / "metrics.jsonl").open()]
    scores = {line["step"]: line["f1"] for line in lines if line.get("split") == "validation"}
    best = finished.results["train"]["best_step"]
    assert scores[best] == max(scores.values())
    assert finished.results["validation"]["overall_f1"] == pytest.approx(scores[best])
    saved = SavedRun.open(finished.output_dir)
    from flaxner.models.pretrained import load_pretrained

    assert_close("exact", load_pretrained(finished.hub_dir).params, saved.params(best))


def test_transformers_loads_and_agrees(finished, settings):
    """Run the usual snippet and compare its tags word by word with predictions/test.conll."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

    folder = str(finished.hub_dir)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder)
    ner = pipeline("ner", model=model, tokenizer=tokenizer)
    assert ner("Angela Merkel met Chen in Berlin .")[0].keys() == {
        "entity",
        "score",
        "index",
        "word",
        "start",
        "end",
    }
    blocks = (finished.output_dir / "predictions" / "test.conll").read_text().split("\n\n")
    for block in blocks:
        rows = [line.split(" ") for line in block.splitlines()]
        inputs = tokenizer([r[0] for r in rows], is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            labels = model(**inputs).logits.argmax(-1)[0].tolist()
        firsts = {w: i for i, w in reversed(list(enumerate(inputs.word_ids()))) if w is not None}
        tags = [model.config.id2label[labels[firsts[i]]] for i in range(len(rows))]
        assert tags == [r[2] for r in rows]


def test_conversion_of_any_checkpoint(finished, tmp_path):
    pytest.importorskip("torch")
    steps = SavedRun.open(finished.output_dir).steps
    made = convert(finished.output_dir, output_dir=tmp_path / "hub", step=steps[0], verify=True)
    assert made.step == steps[0]
    assert made.difference < 1e-5
    with pytest.raises(ValueError, match=r"has no checkpoint 5; available: \d"):
        convert(finished.output_dir, step=5)
    with pytest.raises(ValueError, match="is not a run folder"):
        convert(tmp_path)
    with pytest.raises(ValueError, match=rf"config\.json; did you mean {finished.output_dir}\?"):
        convert(finished.hub_dir)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"is in use: config\.json is in the way"):
        convert(finished.output_dir, output_dir=tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["config.json"]


def test_config_toml_repeats_the_run(finished, tmp_path):
    arguments = ["--config", str(finished.output_dir / "config.toml")]
    config = parse_train_config([*arguments, "--output-dir", str(tmp_path / "again")])
    again = train(config, console=Console(quiet=True))
    for name in ("hub/model.safetensors", "metrics.jsonl", "predictions/test.conll"):
        first = (finished.output_dir / name).read_bytes()
        assert first == (again.output_dir / name).read_bytes(), name


def state_of(folder):
    saved = SavedRun.open(folder)
    return saved.steps[-1], saved.params(saved.steps[-1])


def test_resume_is_bitwise_exact(settings, finished, tmp_path):
    """Stop after step 12 and resume: parameters, metrics and scores equal those of a whole run.

    That the program that resumes has chosen a mesh of its own makes no difference.
    """
    folder = tmp_path / "cut"
    shutil.copytree(finished.output_dir, folder)
    Checkpoints(folder / "checkpoints").close()
    shutil.rmtree(folder / "checkpoints" / "18")
    for name in ("hub", "predictions"):
        shutil.rmtree(folder / name)
    (folder / "results.json").unlink()
    with jax.set_mesh(jax.make_mesh((len(jax.devices()),), ("mine",))):
        again = start(settings, folder, resume=True)
    whole_run = finished.output_dir
    (step, ours), (whole_step, whole) = state_of(folder), state_of(whole_run)
    assert step == whole_step == 18
    assert_close("exact", ours, whole)
    whole_log = (whole_run / "metrics.jsonl").read_bytes()
    assert (folder / "metrics.jsonl").read_bytes() == whole_log
    speed, whole_speed = (read_speed(path / "speed.jsonl") for path in (folder, whole_run))
    before = [line for line in whole_speed if line["step"] <= 12]
    assert before == speed[: len(before)], "the times of earlier steps must not change"
    assert sum(x["tokens"] for x in speed) == sum(x["tokens"] for x in whole_speed)
    for split in ("validation", "test"):
        assert again.results[split] == finished.results[split]


def test_resume_refuses_another_run(settings, finished, tmp_path):
    shutil.copytree(finished.output_dir, tmp_path / "run")
    with pytest.raises(ValueError, match=r"learning_rate differs: 0.002 before, 0.001 now"):
        start(settings, tmp_path / "run", resume=True, learning_rate=1e-3)
    with pytest.raises(ValueError, match=r"batch_size differs: 8 .*; learning_rate differs: 0.002"):
        start(settings, tmp_path / "run", resume=True, batch_size=4, learning_rate=1e-3)
    shorter = write_conll(tmp_path / "shorter.conll", sentences(12, shift=1))
    with pytest.raises(ValueError, match=r"content of the validation corpus differs: .*shorter"):
        start(settings, tmp_path / "run", resume=True, validation_file=str(shorter))
    with pytest.raises(
        ValueError, match=r"epochs differs: .*start a run with --model .*run/hub in"
    ):
        start(settings, tmp_path / "run", resume=True, epochs=9.0)


def test_an_output_folder_in_use_is_refused(settings, finished, tmp_path):
    before = sorted(p.name for p in finished.output_dir.rglob("*"))
    with pytest.raises(ValueError, match=r"already holds a run: continue that run with --resume"):
        start(settings, finished.output_dir)
    assert sorted(p.name for p in finished.output_dir.rglob("*")) == before
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match=r"contains 'thesis.tex', which no run wrote"):
        start(settings, tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").is_file()


def test_overwrite_replaces_a_run(settings, finished, tmp_path):
    shutil.copytree(finished.output_dir, tmp_path / "run")
    result = start(settings, tmp_path / "run", overwrite=True, epochs=1.0)
    assert result.results["train"]["steps"] == 6
    assert SavedRun.open(tmp_path / "run").steps == [6]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_file": "/nowhere/train.conll"}, "nowhere/train.conll"),
        ({"model": "/nowhere/model"}, "there is no model folder '/nowhere/model'"),
        ({"model": "nowhere/model"}, "'nowhere/model': it is neither a folder nor in the local"),
        ({"max_length": 600}, "max_length must be at most the model's 512 positions: 600"),
    ],
)
def test_bad_input_writes_nothing(settings, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        start(settings, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_validation_tags_unseen_in_training(settings, tmp_path):
    odd = write_conll(tmp_path / "odd.conll", [(["Python", "rocks"], ["B-LANG", "B-ACT"])])
    with pytest.raises(ValueError, match=r"training corpus .*train.conll lacks: ACT, LANG \("):
        start(settings, tmp_path / "run", validation_file=str(odd))
    given = {**settings, "validation_file": str(odd), "output_dir": str(tmp_path / "run")}
    for advised in ({"drop_types": ("ACT", "LANG")}, {"map_types": ("ACT=LOC", "LANG=PER")}):
        prepare(TrainConfig(**given, **advised))
    assert not (tmp_path / "run").exists()


def test_without_validation_the_last_model_is_kept(settings, tmp_path):
    result = start(settings, tmp_path / "run", validation_file=None, epochs=1.0)
    assert result.results["train"]["best_step"] == 6
    assert "validation" not in result.results
    assert np.isfinite(result.results["test"]["overall_f1"])
    programs = {name for name, *_ in result.results["train"]["shapes"]}
    assert programs == {"train", "logits"}  # the test split is predicted once
