"""From a run to the Hub and back: our script pushes, unmodified clients load."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from flaxner import TrainConfig, train
from tests.conll import sentences, write_conll
from tests.hub_server import FakeHub

PUSH = str(Path(__file__).resolve().parent.parent / "scripts" / "convert_and_push.py")
TEXT = "Angela Merkel met Chen in Berlin ."
# The usual snippet; then ours.
TORCH = f"""
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline
tokenizer = AutoTokenizer.from_pretrained("user/ner")
model = AutoModelForTokenClassification.from_pretrained("user/ner")
ner = pipeline("ner", model=model, tokenizer=tokenizer)
print("TAGS", [(e["entity"], e["word"], e["start"], e["end"]) for e in ner({TEXT!r})])
"""
OURS = f"""
from flaxner import pipeline
ner = pipeline("ner", model="user/ner")
print("TAGS", [(e["entity"], e["word"], e["start"], e["end"]) for e in ner({TEXT!r})])
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    files = {
        "train_file": write_conll(folder / "train.conll", sentences(48)),
        "validation_file": write_conll(folder / "dev.conll", sentences(16, shift=1)),
    }
    settings = {"model": "flaxner:tiny", "epochs": 3.0, "batch_size": 8, "max_length": 32}
    config = TrainConfig(
        **{name: str(path) for name, path in files.items()},
        **settings,
        learning_rate=2e-3,
        output_dir=str(folder / "run"),
        compilation_cache="",
    )
    return train(config, console=Console(quiet=True)).output_dir


@pytest.fixture
def hub():
    with FakeHub() as server:
        yield server


def tags(done):
    assert done.returncode == 0, done.stderr[-3000:]
    return next(line for line in done.stdout.splitlines() if line.startswith("TAGS"))


def test_train_push_load(run, hub, tmp_path):
    done = hub.run(tmp_path / "a", PUSH, str(run), "--verify", "--push-to-hub", "user/ner")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "hf_" not in done.stdout + done.stderr
    files = hub.repo("user/ner").files("main")
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= set(files)
    assert {"config.toml", "results.json", "metrics.jsonl"} <= set(files)
    card = files["README.md"].data.decode()
    assert "model-index:" in card
    assert 'from_pretrained("user/ner")' in card
    found = tags(hub.run(tmp_path / "torch", TORCH))
    assert "B-PER" in found
    assert tags(hub.run(tmp_path / "ours", OURS)) == found


def test_a_dry_run_shows_and_sends_nothing(run, hub, tmp_path):
    arguments = (str(run), "--output-dir", str(tmp_path / "out"), "--push-to-hub", "user/ner")
    done = hub.run(tmp_path / "a", PUSH, *arguments, "--dry-run")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "model.safetensors" in done.stdout
    assert "# ner" in done.stdout
    assert not hub.requests


def test_a_checkpoint_without_scores_is_not_pushed_unless_forced(run, hub, tmp_path):
    results = json.loads((run / "results.json").read_text())
    steps = [int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdigit()]
    other = next(step for step in steps if step != results["train"]["best_step"])
    arguments = (str(run), "--step", str(other), "--output-dir", str(tmp_path / "out"))
    arguments += ("--push-to-hub", "user/ner")
    done = hub.run(tmp_path / "a", PUSH, *arguments)
    assert done.returncode == 2
    assert "has not been scored" in done.stderr
    assert not hub.requests
    assert "model-index" not in (tmp_path / "out" / "README.md").read_text()
    assert hub.run(tmp_path / "a", PUSH, *arguments, "--force").returncode == 0


def test_bfloat16_weights(run, tmp_path):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForTokenClassification

    from flaxner.conversion import convert

    made = convert(run, output_dir=tmp_path / "half", dtype="bfloat16", verify=True)
    assert made.difference < 1e-4
    half = AutoModelForTokenClassification.from_pretrained(made.folder)
    assert half.dtype == torch.bfloat16
    whole = convert(run, output_dir=tmp_path / "whole").folder / "model.safetensors"
    assert (made.folder / "model.safetensors").stat().st_size < 0.6 * whole.stat().st_size
    with pytest.raises(ValueError, match="dtype must be one of float32, bfloat16: got 'int4'"):
        convert(run, dtype="int4")


@pytest.mark.parametrize(("status", "told"), [(401, "token"), (403, "right"), (500, "500")])
def test_a_refusal_is_one_sentence(run, hub, tmp_path, status, told):
    hub.fail("POST /api/repos/create", status, times=99)
    code = (
        "import flaxner.hub\nflaxner.hub.RETRY_WAITS = ()\n"
        f"from flaxner import push_to_hub\npush_to_hub({str(run / 'hub')!r}, 'user/ner')"
    )
    done = hub.run(tmp_path / "a", code)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ValueError: cannot push to user/ner: ")
    assert told in last
