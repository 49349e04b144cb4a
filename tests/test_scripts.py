"""The command lines as users type them: what mistakes print, and their exit codes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests import scripts
from tests.conll import sentences, write_conll
from tests.scripts import SCRIPTS


def run(script, *arguments):
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def refused(result):
    """Return the one sentence on stderr."""
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if "Traceback" in line or ".py:" in line]
    assert "Traceback" not in result.stderr
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return write_conll(tmp_path_factory.mktemp("good") / "train.conll", sentences(8))


BAD_CORPORA = {
    "empty": ("", "empty"),
    "no column": ("Berlin B-LOC\nonly\n", "line 2: too few columns"),
    "no tag": ("Berlin B-LOC\nis nonsense\n", "line 2: a tag must be O"),
    "no entity": ("it O\nrains O\n", "no entities"),
}


@pytest.mark.parametrize("name", BAD_CORPORA)
def test_bad_corpora(tmp_path, name):
    text, told = BAD_CORPORA[name]
    path = tmp_path / "train.conll"
    path.write_text(text)
    out = tmp_path / "run"
    arguments = ("--train-file", path, "--model", "flaxner:tiny", "--output-dir", out)
    message = refused(scripts.run("train.py", *arguments))
    assert str(path) in message
    assert told in message
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--modle", "x"), "did you mean --model"),
        (("--preset", "nope"), "quickstart"),
        (("--train-file", "nowhere.conll", "--model", "flaxner:tiny"), "nowhere.conll"),
        (("--dataset", "nowhere/at-all", "--model", "flaxner:tiny"), "nowhere/at-all"),
        (("--model", "./nowhere", "--dataset", "flaxner:embedded"), "./nowhere"),
    ],
)
def test_wrong_command_lines(tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    assert told in refused(scripts.run("train.py", *arguments))
    assert not list(tmp_path.iterdir())


def test_a_model_folder_without_weights(tmp_path, good):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "bert"}')
    out = tmp_path / "run"
    message = refused(run("train.py", "--train-file", good, "--model", model, "--output-dir", out))
    assert "holds no weights" in message
    assert not out.exists()


def test_an_output_folder_in_use(tmp_path, good):
    (tmp_path / "thesis.tex").write_text("x")
    arguments = ("--train-file", good, "--model", "flaxner:tiny", "--output-dir", tmp_path)
    assert "which no run wrote" in refused(run("train.py", *arguments))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_resume(tmp_path):
    corpus = write_conll(tmp_path / "train.conll", sentences(400))
    out = tmp_path / "run"
    arguments = ["--train-file", corpus, "--model", "flaxner:tiny", "--output-dir", out]
    arguments += ["--epochs", 200, "--batch-size", 4, "--log-every", 1]
    command = [sys.executable, str(SCRIPTS / "train.py"), *map(str, arguments)]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=dict(os.environ)) as run:
        while not (out / "metrics.jsonl").is_file() or not (out / "metrics.jsonl").read_text():
            assert run.poll() is None, run.stderr.read()
            time.sleep(0.2)
        run.send_signal(signal.SIGINT)
        errors = run.communicate(timeout=120)[1]
    assert run.returncode not in (0, 1, 2)
    assert "--resume" in errors
    assert "Traceback" not in errors
    assert list((out / "checkpoints").iterdir())
