"""Trackers: each is told of a run once, resumed or not, and none can stop the run."""

import dataclasses
import importlib.util
import io
import json
import time
from typing import ClassVar

import pytest
from rich.console import Console

from flaxner.config.command_line import parse_train_config
from flaxner.config.train import TrainConfig
from flaxner.runs.folder import RunFolder
from flaxner.tracking import trackers as module
from flaxner.tracking.reported import lines_of
from flaxner.tracking.tracker import KNOWN, Session, check_trackers
from flaxner.tracking.trackers import Trackers
from flaxner.training.loop import Loop
from flaxner.training.run import train
from flaxner.training.stopping import RunStopped
from flaxner.training.told import close_trackers, open_trackers
from tests.conll import sentences, write_conll

STEPS = 12


def installed(name):
    return importlib.util.find_spec(KNOWN[name].library) is not None


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A run reporting to all installed trackers, saved at step 8, stopped after 9 and resumed."""
    names = [name for name in KNOWN if installed(name)]
    if not names:
        pytest.skip("no tracker is installed")
    folder = tmp_path_factory.mktemp("told")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_DIR", str(folder))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("MLFLOW_ARTIFACT_ROOT", str(folder))
        patch.setenv("TRACKIO_DIR", str(folder / "trackio"))
        patch.chdir(folder)
        config = TrainConfig(
            train_file=str(write_conll(folder / "train.conll", sentences(48))),
            validation_file=str(write_conll(folder / "dev.conll", sentences(16, shift=1))),
            test_file=str(folder / "dev.conll"),
            model="flaxner:tiny",
            epochs=2.0,
            batch_size=8,
            max_length=32,
            log_every=1,
            save_every=4,
            compilation_cache="",
            output_dir=str(folder / "run"),
            report_to=tuple(names),
        )
        record = Loop._record

        def stopping(self, log, bar, step, *rest):
            record(self, log, bar, step, *rest)
            if step == 9:
                raise KeyboardInterrupt

        said = io.StringIO()
        console = Console(file=said, width=1000)
        with pytest.MonkeyPatch.context() as stop:
            stop.setattr(Loop, "_record", stopping)
            with pytest.raises(RunStopped):
                train(config, console=console)
        train(config.replace(resume=True), console=console)
        assert "stopped reporting" not in said.getvalue(), said.getvalue()
        yield folder


def expected(folder):
    """Return the figures of every step from metrics.jsonl."""
    lines = lines_of(folder / "run" / "metrics.jsonl")
    losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
    scores = {line["step"]: line["f1"] for line in lines if line.get("split") == "validation"}
    assert sorted(losses) == list(range(1, STEPS + 1))
    assert sorted(scores) == [6, 12]
    return losses, scores


def check_figures(folder, loss, f1):
    """Check a tracker's (step, value) pairs in `loss` and `f1`; no step may occur twice."""
    losses, scores = expected(folder)
    assert [step for step, _ in loss] == sorted(losses)
    assert [step for step, _ in f1] == sorted(scores)
    assert [value for _, value in loss] == pytest.approx(list(losses.values()), rel=1e-6)
    assert [value for _, value in f1] == pytest.approx(list(scores.values()), rel=1e-6)


def test_tensorboard(told):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    scalars, texts = {}, {}
    files = sorted((told / "run" / "tensorboard").iterdir())
    assert len(files) == 2  # one per session
    for file in files:
        for data in records(file):
            event = Event.FromString(data)
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    scalars.setdefault(value.tag, []).append((event.step, value.simple_value))
                else:
                    texts[value.tag] = value.tensor.string_val[0].decode()
    check_figures(told, scalars["train/loss"], scalars["validation/f1"])
    assert scalars["best/validation_f1"][0][0] == STEPS
    assert "| type | precision | recall | f1 | entities |" in texts["types/validation/text_summary"]
    assert "| batch_size | 8 |" in texts["settings/text_summary"]
    assert "| weight_decay | 0.01 |" in texts["settings/text_summary"]
    recorded = json.loads((told / "run" / ".flaxner.json").read_text())["files"]
    assert {f"tensorboard/{file.name}" for file in files} | {"trackers.json"} <= set(recorded)


def records(path):
    """Yield the records of an event file: length, checksum, data, checksum."""
    data, place = path.read_bytes(), 0
    while place < len(data):
        size = int.from_bytes(data[place : place + 8], "little")
        yield data[place + 12 : place + 12 + size]
        place += 16 + size


def test_mlflow(told):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{told}/mlflow.db")
    experiment = client.get_experiment_by_name("flaxner")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["batch_size"] == "8"
    loss, f1 = (
        [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        for name in ("train/loss", "validation/f1")
    )
    check_figures(told, loss, f1)
    assert run.data.metrics["best/validation_f1"] == max(value for _, value in f1)
    assert [file.path for file in client.list_artifacts(run.info.run_id, "types")] == [
        "types/test.json",
        "types/validation.json",
    ]
    assert "report.html" in [file.path for file in client.list_artifacts(run.info.run_id)]


def test_wandb(told):
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    loss, f1, ids, names, config, artefacts = [], [], set(), set(), {}, set()
    files = sorted((told / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    for file in files:
        for data in wandb_records(file):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            if record.HasField("artifact"):
                artefacts.add(record.artifact.type)
            if record.HasField("run"):
                ids.add(record.run.run_id)
                config |= {item.key: item.value_json for item in record.run.config.update}
            items = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            if "train/loss" in items:
                loss.append((items["_step"], items["train/loss"]))
            if "validation/f1" in items:
                f1.append((items["_step"], items["validation/f1"]))
            names |= items.keys()
    assert ids == {json.loads((told / "run" / "trackers.json").read_text())["id"]}
    assert config["batch_size"] == "8"
    check_figures(told, loss, f1)
    assert names >= {"best/validation_f1", "best/test_f1"}
    assert names >= {"types/validation/nrows", "types/test/nrows"}
    assert artefacts >= {"report"}


def wandb_records(path):
    """Yield the records of wandb's file, a LevelDB log after a header of 7 bytes."""
    data, place, parts = path.read_bytes(), 7, []
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        parts.append(data[place + 7 : place + 7 + size])
        place += 7 + size
        if kind in (1, 4):  # the whole, or the last part
            yield b"".join(parts)
            parts = []


def test_trackio(told, monkeypatch):
    trackio = pytest.importorskip("trackio")
    (run,) = trackio.Api().runs("flaxner")
    rows = run.history() if hasattr(run, "history") else None
    if rows is None:
        from trackio.sqlite_storage import SQLiteStorage

        rows = SQLiteStorage.get_logs("flaxner", run.name)
    loss = [(row["step"], row["train/loss"]) for row in rows if "train/loss" in row]
    f1 = [(row["step"], row["validation/f1"]) for row in rows if "validation/f1" in row]
    check_figures(told, loss, f1)
    assert any("types/validation" in row for row in rows)
    stored = [path for path in (told / "trackio").rglob("*") if path.is_file()]
    page = (told / "run" / "report.html").read_bytes()
    assert any(path.read_bytes() == page for path in stored)


class Recorder:
    """A tracker that records what it is told."""

    made: ClassVar[list] = []

    def __init__(self, session):
        self.session, self.told = session, []
        Recorder.made.append(self)

    def metrics(self, step, values):
        self.told.append((step, dict(values)))

    def table(self, name, table):
        self.told.append((name, table))

    def artefact(self, path):
        self.told.append(("file", path.name))

    def close(self, *, ended):
        self.told.append(("closed", ended))


class Broken(Recorder):
    def metrics(self, step, values):
        raise SystemExit("the disk is full\nand more")


class Hanging(Recorder):
    def metrics(self, step, values):
        time.sleep(30)


SESSION = Session("run-1", "1", None, {"seed": 0}, None)
LINES = [{"step": step, "loss": 1.0 / step} for step in (1, 2, 3)]
SCORES = {
    split: {
        **{f"overall_{name}": 0.5 for name in ("precision", "recall", "f1", "accuracy")},
        "per_type": {"PER": {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 4}},
    }
    for split in ("validation", "test")
}


@pytest.fixture
def kinds(monkeypatch):
    Recorder.made = []
    kinds = {"wandb": Recorder, "mlflow": Recorder, "trackio": Broken, "tensorboard": Hanging}
    monkeypatch.setattr(module, "open_tracker", lambda name, session: kinds[name](session))
    return kinds


def test_a_faulty_tracker_is_reported_once_and_stops_nothing(kinds, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "SOON", 0.2)
    monkeypatch.setattr(module, "PATIENCE", 0.4)
    said = []
    begin = time.monotonic()
    trackers = Trackers(["wandb", "trackio", "tensorboard"], SESSION, say=said.append)
    for line in LINES:
        trackers.metrics(line)
    (tmp_path / "report.html").write_text("x")
    trackers.finish(3, SCORES, [tmp_path / "report.html", tmp_path / "nothing"])
    trackers.close(ended=True)
    assert time.monotonic() - begin < 5
    assert said == [
        "stopped reporting to trackio: the disk is full",
        "waiting for tensorboard, at most 0.4 s",
        "stopped reporting to tensorboard: it does not respond",
    ]
    healthy = next(tracker for tracker in Recorder.made if type(tracker) is Recorder)
    table = (module.COLUMNS, [("PER", 1.0, 0.5, 2 / 3, 4)])
    names = ("precision", "recall", "f1", "accuracy")
    best = {f"best/{split}_{name}": 0.5 for split in SCORES for name in names}
    assert healthy.told == [
        *((line["step"], {"train/loss": line["loss"]}) for line in LINES),
        (3, best),
        ("types/validation", table),
        ("types/test", table),
        ("file", "report.html"),
        ("closed", True),
    ]


def test_a_tracker_added_later_gets_all_earlier_steps(kinds):
    said = []
    trackers = Trackers(["wandb", "mlflow"], SESSION, ["wandb"], LINES[:2], said.append)
    for line in LINES[1:]:  # step 2 is trained again
        trackers.metrics(line)
    trackers.close(ended=False)
    steps = {
        tracker.session.resumed: [step for step, _ in tracker.told] for tracker in Recorder.made
    }
    assert steps == {True: [3, "closed"], False: [1, 2, 3, "closed"]}
    assert said == []


def test_a_tracker_added_later_gets_more_steps_than_may_wait(kinds, monkeypatch):
    monkeypatch.setattr(module, "WAITING", 5)
    said, before = [], [{"step": step, "loss": 1.0} for step in range(1, 100)]
    Trackers(["wandb"], SESSION, [], before, said.append).close(ended=False)
    assert [step for step, _ in Recorder.made[0].told] == [*range(1, 100), "closed"]
    assert said == []


def test_a_tracker_far_behind_is_dropped(kinds, monkeypatch):
    monkeypatch.setattr(module, "SOON", 0.1)
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    monkeypatch.setattr(module, "WAITING", 5)
    said = []
    trackers = Trackers(["tensorboard"], SESSION, say=said.append)
    for step in range(1, 100):
        trackers.metrics({"step": step, "loss": 1.0})
    trackers.close(ended=True)
    assert said == ["stopped reporting to tensorboard: it is 5 lines behind"]


def test_a_missing_tracker_is_reported_before_training(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"--report-to trackio needs trackio: pip install 'flax"):
        check_trackers(["trackio"])
    base = ["--dataset", "flaxner:embedded"]
    with pytest.raises(SystemExit) as end:
        parse_train_config([*base, "--report-to", "wandb", "wanbd"])
    assert end.value.code == 2
    assert "invalid choice: 'wanbd' (choose from 'tensorboard'" in capsys.readouterr().err
    config = parse_train_config([*base, "--report-to", "wandb", "mlflow"])
    assert config.report_to == ("wandb", "mlflow")
    assert "report_to = [" in config.to_toml()
    with pytest.raises(ValueError, match="report_to must be one of tensorboard, wandb, mlflow"):
        dataclasses.replace(config, report_to=("comet",))


def test_a_tracker_that_failed_to_open_gets_everything_next_time(monkeypatch, tmp_path):
    def closed(name, session):
        if name == "wandb":
            raise RuntimeError("there is no API key")
        return Recorder(session)

    monkeypatch.setattr(module, "open_tracker", closed)
    run, said = RunFolder(tmp_path / "run"), []
    config = TrainConfig(
        dataset="flaxner:embedded", output_dir=str(run.path), report_to=("wandb", "mlflow")
    )
    run.lock()
    run.claim(overwrite=False)
    trackers = open_trackers(config, run, said.append, resumed=False)
    close_trackers(trackers, run, ended=False)
    run.release()
    assert said == ["stopped reporting to wandb: there is no API key"]
    assert json.loads(run.trackers.read_text())["trackers"] == ["mlflow"]
