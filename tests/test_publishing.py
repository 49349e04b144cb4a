"""From a run to the Hub and back: our script pushes, and unmodified clients load."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from flaxner import TrainConfig, pipeline, train
from flaxner.config.command_line import parse_train_config
from flaxner.models.pretrained import load_pretrained
from tests.conll import sentences, write_conll
from tests.hub_server import FakeHub

TEXT = "Angela Merkel met Chen in Berlin ."
PUSH = str(Path(__file__).resolve().parent.parent / "scripts" / "convert_and_push.py")
# The snippet this project started from, with only the model's name changed; then ours.
TORCH = """
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

tokenizer = AutoTokenizer.from_pretrained("user/ner")
model = AutoModelForTokenClassification.from_pretrained("user/ner")

ner = pipeline("ner", model=model, tokenizer=tokenizer)
found = ner("The headquarters of Google is located in Mountain View, California.")
print("TAGS", [(e["entity"], e["word"], e["start"], e["end"]) for e in found])
"""
OURS = """
from flaxner import pipeline

ner = pipeline("ner", model="user/ner")
found = ner("The headquarters of Google is located in Mountain View, California.")
print("TAGS", [(e["entity"], e["word"], e["start"], e["end"]) for e in found])
"""
CARD = """
import json
from huggingface_hub import ModelCard

card = ModelCard.load("user/ner")
card.validate()
results = [(r.dataset_split, r.metric_type, r.metric_value) for r in card.data.eval_results]
print(json.dumps([card.data.license, card.data.language, results]))
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


def ok(done):
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def tags(done):
    return next(line for line in ok(done).splitlines() if line.startswith("TAGS"))


def test_train_push_load(run, hub, tmp_path):
    """With hf_xet as installed: a Hub without Xet takes plain uploads."""
    arguments = ("--verify", "--license", "cc-by-4.0", "--language", "en,de")
    arguments += ("--push-to-hub", "user/ner")
    done = hub.run(tmp_path / "a", PUSH, str(run), *arguments, HF_HUB_DISABLE_XET="0")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "PyTorch's logits match ours on 16 sentences of validation" in done.stdout
    assert "Loading weights" not in done.stderr, "a progress bar should not go to a pipe"
    files = hub.repo("user/ner").files("main")
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= set(files)
    assert {"config.toml", "results.json", "metrics.jsonl"} <= set(files)
    assert files["model.safetensors"].lfs
    card = files["README.md"].data.decode()
    assert 'from_pretrained("user/ner")' in card
    found = tags(hub.run(tmp_path / "torch", TORCH))
    assert "B-" in found
    assert tags(hub.run(tmp_path / "ours", OURS)) == found
    license, language, results = json.loads(ok(hub.run(tmp_path / "card", CARD)).splitlines()[-1])
    assert (license, language) == ("cc-by-4.0", ["en", "de"])
    scores = json.loads(files["results.json"].data)["validation"]
    assert results == [
        ["validation", name, round(scores[f"overall_{name}"], 6)]
        for name in ("precision", "recall", "f1", "accuracy")
    ]


def test_the_pushed_config_repeats_the_run(run, tmp_path, monkeypatch):
    """Run `train.py --config config.toml` of a pushed repository next to the corpus files."""
    pushed = run / "hub" / "config.toml"
    assert str(run.parent) not in pushed.read_text(), "the config must not reveal local folders"
    for name in ("train.conll", "dev.conll"):
        shutil.copy(run.parent / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    config = parse_train_config(["--config", str(pushed), "--compilation-cache", ""])
    assert config.output_dir == "runs/run"
    again = train(config, console=Console(quiet=True)).output_dir
    for name in ("hub/model.safetensors", "metrics.jsonl", "hub/metrics.jsonl"):
        assert (again / name).read_bytes() == (run / name).read_bytes(), name
    ours, theirs = (json.loads((f / "hub" / "results.json").read_text()) for f in (again, run))
    assert ours["validation"] == theirs["validation"]


def test_tensorboard_events_equal_the_metrics(run):
    pytest.importorskip("tensorboardX")
    import struct

    from tensorboardX.proto.event_pb2 import Event

    (file,) = (run / "hub" / "runs").iterdir()
    data, found = file.read_bytes(), {}
    while data:  # records: length, its checksum, an event, its checksum
        (size,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + size])
        data = data[16 + size :]
        for value in event.summary.value:
            found[event.step, value.tag] = value.simple_value
    expected = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        step, group = row.pop("step"), row.pop("split", "train")
        numbers = {k: v for k, v in row.items() if isinstance(v, (int, float))}
        expected |= {(step, f"{group}/{name}"): value for name, value in numbers.items()}
    assert any(tag.startswith("validation/") for _, tag in expected)
    assert found == pytest.approx(expected, rel=1e-6)


# Runs the script repeatedly in one process and reports how each run ended.
AGAIN = """
import contextlib, io, json, runpy, sys
import flaxner.publishing.upload as upload

upload.RETRY_WAITS = (0,) * 4
for line in sys.stdin:
    sys.argv = json.loads(line)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as end:
            code = end.code
    print("ENDED", json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""
ROUTES = ("repos/create", "/preupload/", "objects/batch", "PUT /_lfs/", "/commit/")
LASTING = {
    401: "does not accept the token",
    403: "no write access there",
    409: "changed at the same time",
    429: "asks to wait",
    500: "status 500",
}


@pytest.mark.slow
def test_the_script_retries_or_reports_every_fault(run, hub, tmp_path):
    """A transient fault ends in one whole commit, a lasting one in one sentence and exit code 2."""
    token = "hf_DoNotTellThisToAnyone"
    hub.store.tokens[token] = "user"
    (tmp_path / "home").mkdir()
    child = subprocess.Popen(
        [sys.executable, "-c", AGAIN],
        env=hub.environment(tmp_path / "home", token=token),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = []

    def push(name):
        child.stdin.write(json.dumps([PUSH, str(run), "--push-to-hub", name]) + "\n")
        child.stdin.flush()
        while not (line := child.stdout.readline()).startswith("ENDED"):
            said.append(line)
            assert line, f"the child died: {said[-20:]}"
        said.append(line)
        return json.loads(line.removeprefix("ENDED"))

    def sentence(err):
        """Return the error message that follows the upload progress bars."""
        assert "Traceback" not in err
        told = [line for line in re.split(r"[\r\n]", err) if line.startswith("convert_and_push")]
        assert len(told) == 1, err
        assert err.rstrip().endswith(told[0])
        return told[0]

    def whole(name):
        files = hub.repo(name).files("main")
        assert files["model.safetensors"].data == (run / "hub" / "model.safetensors").read_bytes()
        assert len(hub.repo(name).commits) == 2, "the initial commit and ours"

    for number, route in enumerate(ROUTES):
        name = f"user/cut{number}"
        hub.cut(route, "before")
        hub.cut(route, "after")
        if route == "repos/create":
            hub.fail(route, 429, headers={"Retry-After": "0"})
            hub.fail(route, 503)
        code, out, err = push(name)
        assert code == 0, (route, err)
        assert "/commit/" in out
        whole(name)
        assert not [fault for fault in hub.faults if fault.times], route
        hub.store.lfs.clear()  # so that the next push must send it again
    for status, told in LASTING.items():
        route = "/commit/" if status == 409 else "/preupload/"
        hub.fail(route, status, times=99, headers={"Retry-After": "0"})
        code, _, err = push("user/lasting")
        assert code == 2
        assert told in sentence(err)
        hub.faults.clear()
    hub.cut("repos/create", times=99)
    code, _, err = push("user/lasting")
    assert code == 2
    assert "failed or was lost" in sentence(err)
    hub.faults.clear()
    assert push("user/lasting")[0] == 0
    whole("user/lasting")

    child.stdin.close()
    assert child.wait(60) == 0
    kept = [path for top in (tmp_path, run) for path in top.rglob("*") if path.is_file()]
    assert not [path for path in kept if token.encode() in path.read_bytes()]
    pushed = hub.repo("user/lasting").files("main").values()
    assert not [blob for blob in pushed if token.encode() in blob.data]
    assert token not in "".join(said)


@pytest.mark.slow
def test_onnx_pushed_and_every_snippet_of_the_card(run, hub, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    arguments = ("--onnx", "--output-dir", str(tmp_path / "out"), "--push-to-hub", "user/ner")
    done = hub.run(tmp_path / "a", PUSH, str(run), *arguments)
    assert "ONNX Runtime's logits match ours on 16 sentences of validation" in ok(done)
    files = hub.repo("user/ner").files("main")
    assert files["onnx/model.onnx"].lfs
    card = files["README.md"].data.decode()
    snippets = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(snippets) == 3
    for number, snippet in enumerate(snippets):
        said = ok(hub.run(tmp_path / str(number), snippet))
        assert "Google" in said or "google" in said or "'B-" in said, said
    # a later push without --onnx removes the graph of other weights
    done = hub.run(tmp_path / "b", PUSH, str(run), "--push-to-hub", "user/ner")
    assert "/commit/" in ok(done)
    assert "onnx/model.onnx" not in hub.repo("user/ner").files("main")


@pytest.mark.slow
def test_onnx_in_int8_and_its_loss_of_f1(run, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from flaxner.publishing.conversion import convert

    made = convert(run, output_dir=tmp_path / "best", onnx="int8")
    folder = made.folder / "onnx"
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert set(sizes) == {"model.onnx", "model_quantized.onnx"}
    assert sizes["model_quantized.onnx"] < sizes["model.onnx"]
    f1 = json.loads((run / "results.json").read_text())["validation"]["overall_f1"]
    (note,) = made.notes
    found = re.fullmatch(
        r"F1 on validation \(16 sentences\): int8 ([\d.]+), float32 ([\d.]+), "
        r"[\d.]+ (lost|gained)",
        note,
    )
    assert found
    assert float(found[2]) == pytest.approx(f1, abs=1e-4)
    assert abs(float(found[1]) - f1) < 0.1
    assert note in (made.folder / "README.md").read_text()
    # another checkpoint has no predictions yet, so both graphs are run
    steps = [int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdigit()]
    best = json.loads((run / "results.json").read_text())["train"]["best_step"]
    other = next(step for step in steps if step != best)
    (note,) = convert(run, output_dir=tmp_path / "o", step=other, onnx="int8").notes
    assert note.startswith("F1 on validation (16 sentences): int8")
    with pytest.raises(ValueError, match="onnx must be one of float32, int8: got 'int4'"):
        convert(run, output_dir=tmp_path / "bad", onnx="int4")


@pytest.mark.slow
def test_onnx_that_differs_is_refused(run, tmp_path, monkeypatch):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from flaxner.publishing import conversion

    made = conversion.convert(run, output_dir=tmp_path / "good", onnx=True, dtype="bfloat16")
    assert made.onnx_difference < 1e-4
    whole = conversion.write_onnx

    def damaged(draft, positions):
        file = whole(draft, positions)
        graph = onnx.load(file)
        bias = next(i for i in graph.graph.initializer if i.name == "classifier.bias")
        values = onnx.numpy_helper.to_array(bias) + np.float32(2e-4)
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        onnx.save(graph, file)
        return file

    monkeypatch.setattr(conversion, "write_onnx", damaged)
    with pytest.raises(ValueError, match=r"ONNX Runtime's logits differ from ours by 2.0\de-04"):
        conversion.convert(run, output_dir=tmp_path / "bad", onnx=True)
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("at", [0, 1])
def test_logits_that_are_no_numbers_differ_in_any_batch(at):
    from flaxner.publishing.verification import Probe

    mask, ours = {"attention_mask": np.ones((1, 2), np.int64)}, np.zeros((1, 2, 3), np.float32)
    theirs = [ours, ours]
    theirs[at] = ours * np.nan
    with pytest.raises(ValueError, match="PyTorch's logits differ from ours by nan"):
        Probe([mask, mask], [ours, ours]).compare("PyTorch", lambda _: theirs.pop(0))


def test_missing_packages_are_one_sentence(run, monkeypatch):
    from flaxner.publishing import verification
    from flaxner.publishing.conversion import convert

    monkeypatch.setattr(verification, "find_spec", lambda name: None if "onnx" in name else name)
    told = "--onnx needs onnx, onnxscript, onnxruntime: pip install torch onnx onnxscript"
    with pytest.raises(ValueError, match=told):
        convert(run, onnx=True)


def test_a_missing_token_is_noticed_before_converting(run, monkeypatch, tmp_path):
    from flaxner.publishing import push, upload

    monkeypatch.setattr(upload, "get_token", lambda: None)
    asked = {"private": False, "revision": None, "force": False, "output_dir": tmp_path / "out"}
    with pytest.raises(ValueError, match="set HF_TOKEN"):
        list(push.convert_and_push(str(run), push_to_hub="user/x", dry_run=False, **asked))
    assert not (tmp_path / "out").exists()


def test_a_dry_run_shows_and_sends_nothing(run, hub, tmp_path):
    arguments = (str(run), "--output-dir", str(tmp_path / "out"), "--push-to-hub", "user/ner")
    done = hub.run(tmp_path / "a", PUSH, *arguments, "--dry-run")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "model.safetensors" in done.stdout
    assert "# ner" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("would go to user/ner")
    assert not hub.requests


def test_a_name_that_the_hub_cannot_have_is_refused_before_the_conversion(tmp_path):
    from flaxner import push_to_hub
    from flaxner.publishing.push import convert_and_push

    push = {"private": False, "revision": None, "dry_run": True, "force": False}
    for name in ("a/b/c", "a b/c"):
        with pytest.raises(ValueError, match="not a valid repository name, USER/NAME"):
            list(convert_and_push(str(tmp_path), push_to_hub=name, **push))
        with pytest.raises(ValueError, match="not a valid repository name, USER/NAME"):
            push_to_hub(tmp_path, name)


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

    from flaxner.publishing.conversion import convert

    made = convert(run, output_dir=tmp_path / "half", dtype="bfloat16", verify=True)
    assert made.difference < 1e-4
    half = AutoModelForTokenClassification.from_pretrained(made.folder)
    assert half.dtype == torch.bfloat16
    theirs, ours = half.state_dict(), load_pretrained(made.folder)
    assert set(theirs) == {rule.theirs for rule in ours.model.rules}
    for rule in ours.model.rules:
        ours_in_bits = rule.convert(ours.params[rule.ours]).tobytes()
        assert ours_in_bits == theirs[rule.theirs].float().numpy().tobytes(), rule.theirs
    from transformers import pipeline as torch_pipeline

    both = [
        torch_pipeline("ner", half.float(), tokenizer=str(made.folder)),
        pipeline("ner", model=str(made.folder)),
    ]
    first, second = ([(e["entity"], e["word"]) for e in ner(TEXT)] for ner in both)
    assert first == second
    whole = convert(run, output_dir=tmp_path / "whole").folder / "model.safetensors"
    assert (made.folder / "model.safetensors").stat().st_size < 0.6 * whole.stat().st_size
    with pytest.raises(ValueError, match="dtype must be one of float32, bfloat16: got 'int4'"):
        convert(run, dtype="int4")


def test_a_refusal_is_one_sentence(run, hub, tmp_path):
    refusals = {401: "token", 403: "write access there", 500: "500"}
    for status in refusals:
        hub.fail("POST /api/repos/create", status)
    code = f"""
import flaxner
import flaxner.publishing.upload as upload
upload.RETRY_WAITS = ()
for _ in range({len(refusals)}):
    try:
        flaxner.push_to_hub({str(run / "hub")!r}, "user/ner")
    except ValueError as error:
        print("refused:", error)
"""
    lines = ok(hub.run(tmp_path / "a", code)).splitlines()
    for line, told in zip(lines, refusals.values(), strict=True):
        assert line.startswith("refused: cannot push to user/ner: ")
        assert told in line
