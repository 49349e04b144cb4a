"""Several real processes on 127.0.0.1 over gloo train the same run as one."""

import errno
import json
import re
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from flaxner.devices import processes
from flaxner.devices.lost_process import HEARTBEAT
from flaxner.publishing.conversion import SavedRun
from flaxner.runs.folder import RunFolder
from flaxner.training.session import stops_told
from flaxner.training.stopping import Interruption, RunStopped
from flaxner.training.watching import nobody, tell
from tests import chaos
from tests.compare import scaled_close

EPOCHS = 4  # 24 steps
RATE = "5e-4"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def launch(folder, name, count, devices, *, epochs=EPOCHS, extra=(), without=None, last=()):
    """Start `count` processes with `devices` devices each.

    `without` drops a flag and its value; `last` replaces those of the last process.
    """
    seldom = ["--save-every", "8", "--learning-rate", RATE]
    base = [*chaos.command(folder, name, epochs=epochs), *seldom, *extra]
    if without:
        place = base.index(without)
        del base[place : place + 2]
    meet, started = f"127.0.0.1:{free_port()}", []
    for index in range(count):
        own = ["--coordinator", meet, "--num-processes", str(count), "--process-id", str(index)]
        if index == count - 1:
            for flag, value in last:
                base[base.index(flag) + 1] = value
        log = (folder / f"{name}.{index}.log").open("a")
        started.append(chaos.launch(base + (own if count > 1 else []), log, devices))
    return started


def finish(folder, name, started, expected=0):
    codes = [process.wait(240) for process in started]
    logs = "\n".join(p.read_text()[-1500:] for p in sorted(folder.glob(f"{name}.*.log")))
    assert codes == [expected] * len(started), f"{codes}\n{logs}"
    return logs


def params(folder, name):
    saved = SavedRun.open(folder / name)
    return saved.steps[-1], saved.params(saved.steps[-1])


def same_run(folder, one, other):
    """Check: parameters within 1e-6, the same scores and predictions, every line logged once."""
    (step, ours), (other_step, theirs) = params(folder, one), params(folder, other)
    assert step == other_step
    scaled_close("devices", ours, theirs)
    results = [json.loads((folder / n / "results.json").read_text()) for n in (one, other)]
    for split in ("validation", "test"):
        assert results[0][split] == results[1][split]
        assert results[0][split]["words_scored"] == results[0][split]["words_in_corpus"]
    logs = [(folder / n / "metrics.jsonl").read_text().splitlines() for n in (one, other)]
    for a, b in zip(*(map(json.loads, log) for log in logs), strict=True):
        assert a.keys() == b.keys()
        assert a["step"] == b["step"]
        if "loss" in a:
            np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    finish(folder, "one", launch(folder, "one", 1, 1))
    return folder


def test_two_processes_equal_one(folder):
    """2 processes x 4 devices against 1 x 1, over 24 steps, evaluation and export."""
    finish(folder, "two", launch(folder, "two", 2, 4))
    same_run(folder, "two", "one")
    results = json.loads((folder / "two" / "results.json").read_text())["train"]
    assert (results["devices"], results["processes"]) == (8, 2)


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--train-file", "dev.conll", "do not have the same train corpus, validation corpus, "),
        pytest.param("--epochs", "5", "do not have the same epochs", marks=pytest.mark.slow),
        pytest.param(
            *("--train-file", "nowhere.conll", "process 1 of the run failed: its own"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("--output-dir", "other", "is not the same folder in every process (not in process 1"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_processes_that_differ_are_refused_at_once(tmp_path, flag, value, message):
    """They used to wait for each other for ever, or to train on different sentences in silence."""
    last = [(flag, str(tmp_path / value) if flag != "--epochs" else value)]
    started = launch(tmp_path, "run", 2, 1, last=last)
    logs = finish(tmp_path, "run", started, expected=2)
    assert message in " ".join(logs.split())
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.slow
def test_stopped_in_two_processes_continued_in_one(folder):
    """SIGTERM to one of two: both stop after the same step, and one process resumes the run."""
    started = launch(folder, "moved", 2, 2)
    metrics = folder / "moved" / "metrics.jsonl"
    end = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 3):
        assert time.monotonic() < end
        time.sleep(0.01)
    started[1].send_signal(signal.SIGTERM)
    logs = finish(folder, "moved", started, expected=75)
    said = re.findall(r"stopped; saved up to step (\d+)", logs.replace("\n", " "))
    assert len(said) == 2
    assert len(set(said)) == 1
    finish(folder, "moved", launch(folder, "moved", 1, 1))
    same_run(folder, "moved", "one")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "without"), [("--seeds", None), ("--cross-validation", "--validation-file")]
)
def test_several_runs_end_in_two_processes(tmp_path, kind, without):
    """What only the main process writes at the end requires nothing of the other."""
    for again in (False, True):
        options = {"epochs": 1, "extra": [kind, "2"], "without": without}
        logs = finish(tmp_path, "run", launch(tmp_path, "run", 2, 1, **options))
        assert ("has finished: nothing left to do" in " ".join(logs.split())) == again
        results = json.loads((tmp_path / "run" / "results.json").read_text())
        assert len(results["train"]["steps"]) == 2
    assert "side by side" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.slow
def test_four_processes_equal_one(folder):
    finish(folder, "four", launch(folder, "four", 4, 1, extra=["--fsdp", "2"]))
    same_run(folder, "four", "one")
    finish(folder, "eight", launch(folder, "eight", 1, 8))
    same_run(folder, "eight", "four")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "lost", "seconds"),
    [(signal.SIGKILL, 1, 20), (signal.SIGKILL, 0, 20), (signal.SIGSTOP, 1, HEARTBEAT + 40)],
)
def test_a_lost_process_ends_the_others(folder, number, lost, seconds):
    """One sentence that names the lost one, exit code 75, and no noise from Gloo or C++ stacks."""
    name = f"lost-{number.name}-{lost}"
    started = launch(folder, name, 2, 1, epochs=400)
    metrics = folder / name / "metrics.jsonl"
    end = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= 3):
        assert time.monotonic() < end
        time.sleep(0.01)
    started[lost].send_signal(number)
    try:
        assert started[1 - lost].wait(seconds) == 75
    finally:
        for process in started:
            process.kill()
    log = (folder / f"{name}.{1 - lost}.log").read_text()
    assert log.count(f"train.py: process {lost} of the run is gone; ") == 1
    assert log.rstrip().endswith("--resume")
    for noise in ("Gloo", "coordination", "stack trace", " @ 0x", "Traceback"):
        assert noise not in log


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, 2, 0), "several processes need --coordinator"),
        (("127.0.0.1:1", 0, 0), "several processes need --num-processes"),
        (("127.0.0.1:1", 2, -1), "several processes need --process-id"),
        (("127.0.0.1:1", 2, 2), "process_id must be from 0 to num_processes - 1: got 2"),
    ],
)
def test_incomplete_coordinator_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        processes.start(*arguments)


def test_uneven_numbers_of_devices_are_refused(monkeypatch):
    """JAX's error spoke of reshaping an array."""
    devices = [SimpleNamespace(process_index=index) for index in (0, 1, 1)]
    monkeypatch.setattr(processes.jax, "devices", lambda: devices)
    with pytest.raises(ValueError, match="the same number of devices: they have 1, 2"):
        processes._refuse_uneven()


def test_nested_on_main_is_refused():
    """It would wait for the other processes for ever; a single process detects it, too."""
    with pytest.raises(RuntimeError, match="on_main within on_main"):
        processes.on_main(lambda: processes.on_main(lambda: 7))
    assert processes.on_main(lambda: 7) == 7


def test_any_error_of_the_main_process_ends_the_others(monkeypatch):
    """Of an error that was not foreseen, they heard nothing, and waited."""
    sent = []
    monkeypatch.setattr(processes, "_is_alone", lambda: False)
    monkeypatch.setattr(processes, "is_main", lambda: not sent)
    monkeypatch.setattr(processes, "_broadcast", lambda answer: sent.append(answer) or sent[0])

    def broken():
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        processes.on_main(broken)
    with pytest.raises(ValueError, match="process 0 of the run failed"):
        processes.on_main(broken)


def test_a_lost_process_is_reported_however_jax_raises_it(monkeypatch, tmp_path):
    """JAX raises either a JaxRuntimeError or a ValueError for the same failure."""
    run, told = RunFolder(tmp_path / "run"), Interruption(print)
    gloo = "UNKNOWN: Gloo all-reduce failed: Read error: Connection reset by peer"
    for count, message in ((1, gloo), (2, "no entity in barrier.conll"), (2, "labels: UNKNOWN: 3")):
        monkeypatch.setattr("jax.process_count", lambda count=count: count)
        with pytest.raises(ValueError, match=f"^{message}"), stops_told(run, told):
            raise ValueError(message)
    with (
        pytest.raises(RunStopped, match="process 1 of the run is gone") as caught,
        stops_told(run, told),
    ):
        raise ValueError(gloo)
    assert caught.value.at_once


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_process_that_stops_alone_does_not_wait(monkeypatch, tmp_path, error, count):
    """The others wait for it; it waited for them for five minutes, at its exit."""
    monkeypatch.setattr("jax.process_count", lambda: count)
    with (
        pytest.raises(RunStopped, match=r"\(full\)|KeyboardInterrupt") as caught,
        stops_told(RunFolder(tmp_path / "run"), Interruption(print)),
    ):
        raise error
    assert caught.value.at_once == (count > 1)


def test_an_error_that_nothing_caught_exits_at_once():
    """It waited for the others, at its exit, and they for it."""
    code = (
        "import atexit, time; from flaxner.devices import lost_process; lost_process.watch(1, 2); "
        "atexit.register(time.sleep, 60); print('training'); raise RuntimeError('a bug')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert (ended.returncode, ended.stdout) == (1, "training\n")
    assert ended.stderr.endswith("RuntimeError: a bug\n")


def test_an_invalid_value_in_one_process_exits_at_once():
    """It waited for the others for five minutes, at its exit, and they for it."""
    code = """
import atexit, sys, time
from flaxner.commands import train
from flaxner.devices import lost_process
from flaxner.training import run

def failing(config):
    lost_process.watch(1, 2)
    raise ValueError("corpus.conll is not whole")

run.train = failing
atexit.register(time.sleep, 60)
sys.exit(train.main(["--preset", "quickstart"]))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert (ended.returncode, ended.stderr) == (2, "train.py: corpus.conll is not whole\n")


def test_an_error_of_a_callback_is_raised_as_it_is_and_ends_the_others(monkeypatch, tmp_path):
    def broken(*_):
        raise ConnectionError("no such host")

    run = RunFolder(tmp_path / "run")
    with pytest.raises(ConnectionError, match=r"^no such"), stops_told(run, Interruption(print)):
        tell(broken, 1, 1.0, 0.5)
    monkeypatch.setattr(processes, "where_not", lambda holds: [1])
    with pytest.raises(ValueError, match="process 1 of the run failed"):
        tell(nobody, 1, 1.0, 0.5)


def test_settling_a_vote_counts_the_last_ballots(monkeypatch):
    """Simulates two processes, of which this one wants to stop."""
    monkeypatch.setattr(processes.jax, "process_count", lambda: 2)
    vote = processes.StopVote(jax.make_mesh((2,), ("data",)), lambda: True)
    assert not vote()  # nobody had voted before
    vote._last = None
    assert vote.settled()


def test_launchers_are_recognised():
    assert not processes.expects_others({"SLURM_NTASKS": "4"})  # a batch script, not a task of srun
    assert not processes.expects_others({"SLURM_STEP_NUM_TASKS": "1", "TPU_WORKER_HOSTNAMES": "h"})
    for name, value in (
        ("SLURM_STEP_NUM_TASKS", "2"),
        ("OMPI_COMM_WORLD_SIZE", "8"),
        ("MEGASCALE_NUM_SLICES", "2"),
        ("TPU_WORKER_HOSTNAMES", "a,b"),
        ("JAX_COORDINATOR_ADDRESS", "a:1"),
    ):
        assert processes.expects_others({name: value})
