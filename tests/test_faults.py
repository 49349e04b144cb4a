"""What goes wrong around a run: signals, damaged files, full disks, NaN losses, second runs."""

import errno
import functools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from flaxner.files import kinds
from flaxner.publishing.conversion import SavedRun
from flaxner.runs.checkpoint import Checkpoints
from flaxner.runs.folder import RunFolder
from flaxner.runs.metrics_log import MetricsLog
from flaxner.terminal import UNWRITABLE
from flaxner.training.shared import Shared
from flaxner.training.stopping import RESUMABLE, RunStopped
from tests import chaos, runs
from tests.compare import assert_close
from tests.conll import sentences, write_conll

EPOCHS = 4.0
STEPS = 24
start = functools.partial(runs.start, shared=Shared())


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return {
        "train_file": str(write_conll(folder / "train.conll", sentences(48))),
        "validation_file": str(write_conll(folder / "dev.conll", sentences(16, shift=1))),
        "test_file": str(write_conll(folder / "test.conll", sentences(16, shift=2))),
        "model": "flaxner:tiny",
        "epochs": EPOCHS,
        "batch_size": 8,
        "max_length": 32,
        "learning_rate": 2e-3,
        "log_every": 1,
        "save_every": 2,
        "compilation_cache": "",
    }


@pytest.fixture(scope="module")
def whole(settings, tmp_path_factory):
    return start(settings, tmp_path_factory.mktemp("runs") / "whole")


def same_end(one, other):
    """Assert that two runs ended with the same results, to the last bit."""
    chaos.compare(one.output_dir, other.output_dir)


def when_lines(path, count, act):
    """Call `act` from a thread once the file has `count` lines."""

    def watch():
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if path.exists() and path.read_bytes().count(b"\n") >= count:
                return act()
            time.sleep(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_run_resumes_exactly(settings, whole, tmp_path, number):
    folder = tmp_path / "run"
    before = signal.getsignal(number)
    thread = when_lines(folder / "metrics.jsonl", 4, lambda: os.kill(os.getpid(), number))
    with pytest.raises(
        RunStopped, match=rf"{number.name}: stopped; saved up to step \d+"
    ) as caught:
        start(settings, folder)
    thread.join()
    assert signal.getsignal(number) is before
    assert caught.value.code == RESUMABLE
    assert f"--config {folder}/config.toml --resume" in str(caught.value)
    step = Checkpoints(folder / "checkpoints", read_only=True).steps()[-1]
    assert 4 <= step < STEPS
    assert len((folder / "metrics.jsonl").read_text().splitlines()) >= step
    same_end(start(settings, folder, resume=True), whole)


@pytest.mark.slow
def test_an_interrupted_evaluation_is_repeated_on_resume(settings, whole, tmp_path, monkeypatch):
    """The state before the evaluation is saved, and the resumed run evaluates first."""
    from flaxner.training.prediction import Judge

    honest, folder = Judge.score, tmp_path / "run"

    def interrupted(self, split, params, advance=lambda done: None):
        os.kill(os.getpid(), signal.SIGTERM)
        return honest(self, split, params, advance)

    monkeypatch.setattr(Judge, "score", interrupted)
    with pytest.raises(RunStopped, match="SIGTERM: stopped; saved up to step 6"):
        start(settings, folder)
    monkeypatch.setattr(Judge, "score", honest)
    same_end(start(settings, folder, resume=True), whole)


@pytest.mark.slow
def test_a_second_signal_exits_at_once(tmp_path):
    arguments = chaos.command(tmp_path, "run", epochs=5000)
    with (tmp_path / "log").open("w") as log:
        process = chaos.launch(arguments, log)
        thread = when_lines(
            tmp_path / "run" / "metrics.jsonl",
            3,
            lambda: [process.send_signal(signal.SIGSTOP), process.send_signal(signal.SIGTERM)],
        )
        thread.join()
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) in (128 + signal.SIGINT, 128 + signal.SIGTERM)


def corrupt(folder, rng):
    """Damage one file of a checkpoint; return which and how."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path, how = rng.choice(files), rng.choice(["flip", "cut", "empty", "delete", "grow"])
    data = bytearray(path.read_bytes())
    if how == "flip":
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif how == "cut":
        data = data[: rng.randrange(len(data))]
    elif how == "empty":
        data = bytearray()
    elif how == "grow":
        data += b"\0"
    path.unlink() if how == "delete" else path.write_bytes(data)
    return f"{path.relative_to(folder)}: {how}"


def damage_one(whole, folder, seed):
    shutil.copytree(whole.output_dir, folder)
    for name in ("hub", "predictions"):
        shutil.rmtree(folder / name)
    (folder / "results.json").unlink()
    newest = SavedRun.open(folder).steps[-1]
    return corrupt(folder / "checkpoints" / str(newest), random.Random(seed))


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_checkpoint_is_skipped(settings, whole, tmp_path, seed):
    what = damage_one(whole, tmp_path / "run", seed)
    with (tmp_path / "said").open("w+") as said:
        again = start(settings, tmp_path / "run", resume=True, lines=said)
        said.seek(0)
        text = said.read()
    assert f"checkpoints/{STEPS}" in text, what
    assert "resuming from step 22" in text, what
    same_end(again, whole)


def test_any_damaged_file_is_noticed(whole, tmp_path):
    """In 50 random cases the damaged checkpoint is refused and the previous one used."""
    for seed in range(50):
        folder = tmp_path / str(seed)
        what = damage_one(whole, folder, seed)
        said = []
        found = Checkpoints(folder / "checkpoints").newest_whole(said.append)
        assert found == 22, what
        assert len(said) == 1, what
        assert f"checkpoints/{STEPS}" in said[0], what
        shutil.rmtree(folder)


def test_a_file_that_somebody_added_is_no_damage(whole, tmp_path):
    """Finder leaves such files in the folders it shows."""
    shutil.copytree(whole.output_dir, tmp_path / "run")
    for folder in ("", "pytree", "training"):
        (tmp_path / "run" / "checkpoints" / str(STEPS) / folder / ".DS_Store").write_bytes(b"Bud1")
    assert Checkpoints(tmp_path / "run" / "checkpoints").newest_whole(pytest.fail) == STEPS
    assert SavedRun.open(tmp_path / "run").params(STEPS)


@pytest.mark.slow
def test_fifty_damaged_runs_end_exactly(settings, whole, tmp_path):
    for seed in range(50):
        folder = tmp_path / str(seed)
        what = damage_one(whole, folder, seed)
        try:
            same_end(start(settings, folder, resume=True), whole)
        except AssertionError as error:
            raise AssertionError(f"{what}: {error}") from error
        shutil.rmtree(folder)


def test_all_checkpoints_damaged_is_an_error(settings, whole, tmp_path):
    shutil.copytree(whole.output_dir, tmp_path / "run")
    for step in SavedRun.open(tmp_path / "run").steps:
        (tmp_path / "run" / "checkpoints" / str(step) / "run.json").write_text("{}")
    with pytest.raises(
        ValueError, match=r"every checkpoint in .* is damaged .*run.json has 2 byte"
    ):
        start(settings, tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match=r"checkpoints/24 is damaged: run.json"):
        SavedRun.open(tmp_path / "run").params(24)


def test_a_finished_run_is_left_alone(settings, whole, tmp_path):
    shutil.copytree(whole.output_dir, tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "hub").rglob("*")}
    again = start(settings, tmp_path / "run", resume=True)
    assert again.results == whole.results
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "hub").rglob("*")}


def test_an_unfinished_export_is_repeated(settings, whole, tmp_path):
    shutil.copytree(whole.output_dir, tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    shutil.rmtree(tmp_path / "run" / "hub")
    same_end(start(settings, tmp_path / "run", resume=True), whole)


def test_checkpoints_are_bounded_and_hold_the_best(whole):
    steps = SavedRun.open(whole.output_dir).steps
    assert steps[-2:] == [22, 24]
    assert set(steps) <= {22, 24, whole.results["train"]["best_step"]}
    assert whole.results["train"]["best_step"] in steps
    names = {p.name for p in (whole.output_dir / "checkpoints").iterdir()}
    assert names == {str(step) for step in steps}


def test_a_non_finite_loss_stops_the_run(settings, tmp_path):
    """The last good checkpoint is kept, all its numbers are finite, and the best is named."""
    changes = {"learning_rate": 1e25, "max_grad_norm": 0.0, "warmup_ratio": 1.0, "eval_every": 1}
    with pytest.raises(ValueError, match=r"at step \d+: try a lower --learning-rate") as caught:
        start(settings, tmp_path / "run", **changes)
    saved = SavedRun.open(tmp_path / "run")
    assert f"step {saved.steps[-1]} in" in str(caught.value)
    best = Checkpoints(tmp_path / "run" / "checkpoints").describe(saved.steps[-1])[0].best_step
    assert f"convert {tmp_path / 'run'} --step {best}" in str(caught.value)
    for value in saved.params(saved.steps[-1]).values():
        assert np.isfinite(value).all()
    for line in (tmp_path / "run" / "metrics.jsonl").open():
        assert np.isfinite(json.loads(line).get("loss", 0.0))


def test_two_runs_on_one_folder(settings, tmp_path):
    other = RunFolder(tmp_path / "run")
    other.lock()
    for changes in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(ValueError, match=r"another run is writing to .*run \(process \d+ on"):
            start(settings, tmp_path / "run", **changes)
    assert {p.name for p in (tmp_path / "run").iterdir()} == {".lock", ".lock-holder"}
    other.release()
    RunFolder(tmp_path / "run").lock()


def test_a_lock_dies_with_its_process(tmp_path):
    code = (
        "import sys, time; from flaxner.runs.folder import RunFolder; "
        "run = RunFolder(sys.argv[1]); run.lock(); print('locked', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        env=chaos.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "locked\n"
    with pytest.raises(ValueError, match=f"process {process.pid} on"):
        RunFolder(tmp_path).lock()
    process.kill()
    process.communicate()
    RunFolder(tmp_path).lock()


def test_a_full_disk_is_reported_and_the_last_checkpoint_kept(settings, whole, tmp_path):
    """Limit the file size so that saving a trained state exceeds it."""
    folder = tmp_path / "run"
    shutil.copytree(whole.output_dir, folder)
    for name in ("22", "24"):
        shutil.rmtree(folder / "checkpoints" / name, ignore_errors=True)
    steps = SavedRun.open(folder).steps
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not steps:
        pytest.skip("the best step is among the newest")
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(RunStopped, match=r"cannot save checkpoint \d+ in .*run/chec") as caught:
            start(settings, folder, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == UNWRITABLE
    assert "File too large; saved up to step" in str(caught.value)
    assert SavedRun.open(folder).steps == steps
    same_end(start(settings, folder, resume=True), whole)


def test_a_missing_device_is_a_one_line_error(tmp_path):
    arguments = chaos.command(tmp_path, "run", epochs=1)
    environment = chaos.environment() | {"JAX_PLATFORMS": "cuda"}
    done = subprocess.run(
        arguments, cwd=chaos.ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "train.py: JAX finds no device of the platform 'cuda'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_best_step_is_exported(whole):
    """The exported model has the weights of the best step."""
    best = whole.results["train"]["best_step"]
    saved = SavedRun.open(whole.output_dir)
    from flaxner.models.pretrained import load_pretrained

    assert_close("exact", load_pretrained(whole.hub_dir).params, saved.params(best))
    assert Path(whole.hub_dir, "README.md").is_file()


def test_a_metrics_log_is_saved_where_only_closed_files_are(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write(step=1)
    opened = log._file
    log.sync()
    assert opened.closed
    log.write(step=2)
    log.close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_folder_whose_files_cannot_be_appended_to_is_refused(settings, tmp_path, monkeypatch):
    def opened(name, mode):
        if os.path.getsize(name):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), name)
        return open(name, mode)

    monkeypatch.setattr(kinds, "open", opened, raising=False)
    monkeypatch.delattr(os, "O_TMPFILE")
    with pytest.raises(ValueError, match="--vfs-cache-mode writes"):
        start(settings, tmp_path / "run")
    assert not list(tmp_path.iterdir())
