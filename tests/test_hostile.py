"""The short version of tests/hostile: untrusted input, and adverse environments."""

import contextlib
import gzip
import io
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from rich.console import Console

from flaxner import read_corpus, terminal
from flaxner.data.readers import streams
from flaxner.evaluation.table import score_table
from flaxner.files.atomic import write_text
from flaxner.files.owned import write_folder
from flaxner.inference.exports import EXPORT
from flaxner.inference.opening import open_pipeline
from flaxner.inference.pipeline import pipeline
from flaxner.inference.printing import as_json, as_pretty
from flaxner.models.pretrained import load_pretrained
from flaxner.models.tensors import write_tensors
from tests import chaos
from tests.chaos import ROOT
from tests.hostile import corpora, models
from tests.pipelines import make_folder

TEXT = "Angela Merkel met Barack Obama in Berlin ."


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("model") / "hub")


@pytest.fixture(scope="module")
def exported(whole, tmp_path_factory):
    return pipeline("ner", model=whole).export(tmp_path_factory.mktemp("export") / "exp")


def damaged(folder, damage, tmp_path):
    """Return a damaged copy of the folder."""
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    damage(copy)
    return copy


def one_sentence(error):
    assert "\n" not in str(error)
    assert 10 < len(str(error)) < 1200


def answers_or_says(folder, sentence):
    if sentence is None:
        assert isinstance(open_pipeline(folder)(TEXT), list)
        return
    with pytest.raises(ValueError, match=r".") as caught:
        open_pipeline(folder)(TEXT)
    one_sentence(caught.value)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("name", models.CASES)
def test_model_folders(whole, tmp_path, name):
    damage, sentence = models.CASES[name]
    folder = damaged(whole, damage, tmp_path)
    answers_or_says(folder, sentence)


@pytest.mark.parametrize("name", models.EXPORTED)
def test_exported_folders(exported, tmp_path, name):
    damage, sentence = models.EXPORTED[name]
    folder = damaged(exported, damage, tmp_path)
    answers_or_says(folder, sentence)


@pytest.mark.parametrize("name", corpora.CASES)
def test_corpora(tmp_path, name):
    file, content, sentence = corpora.CASES[name]
    path = tmp_path / file
    path.write_bytes(content())
    if sentence is None:
        assert len(read_corpus(path)) >= 20
        return
    with pytest.raises(ValueError, match=r".") as caught:
        read_corpus(path)
    one_sentence(caught.value)
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)


def command(script, *arguments, stdin="", **environment):
    """Run a script as a user would."""
    flags = {"XLA_FLAGS": chaos.xla_flags(), "JAX_PLATFORMS": "cpu"}
    known = os.environ | {"PYTHONPATH": str(ROOT), **flags}
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)],
        env=known | environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def refused(done, sentence, code=2):
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert sentence in done.stderr


def test_no_entry_point_runs_code_from_a_folder(whole, exported, tmp_path, monkeypatch):
    """With "y" on standard input each time, and including the paths through torch."""
    import flaxner.publishing.verification as verification
    from flaxner.data.tokenizer import load_tokenizer
    from flaxner.evaluation.classifier_scores import evaluate
    from flaxner.publishing.serving_export import export_model
    from flaxner.training.examples import show_examples

    mark = tmp_path / "ran"
    folders = []
    for name, source in (("model", whole), ("exported", exported)):
        folder = tmp_path / name
        shutil.copytree(source, folder)
        models.own_code(mark)(folder)
        folders.append(folder)
    corpus = tmp_path / "a.conll"
    corpus.write_text(corpora.PLAIN)
    doors = {
        "pipeline": lambda folder: open_pipeline(folder)(TEXT),
        "evaluate": lambda folder: evaluate(model=str(folder), file=str(corpus)),
        "export": lambda folder: export_model(str(folder), str(tmp_path / "out")),
        "pretrained": load_pretrained,
        "tokenizer": load_tokenizer,
        "examples": lambda folder: show_examples(folder, console=Console(quiet=True)),
        "torch": verification.in_torch,
    }
    for folder in folders:
        for door in doors.values():
            monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 100))
            with contextlib.suppress(ValueError, OSError):  # refused, or read without its code
                door(folder)
            assert not mark.exists()


@pytest.mark.slow
def test_predict_does_not_ask_about_remote_code(exported, tmp_path):
    mark, folder = tmp_path / "ran", tmp_path / "exported"
    shutil.copytree(exported, folder)
    models.own_code(mark)(folder)
    done = command("predict.py", "--model", folder, "-", stdin="y\ny\ny\n")
    assert not mark.exists()
    assert done.returncode in (0, 2)
    assert "Do you wish to run" not in done.stdout + done.stderr


def test_a_named_pipe_is_read(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def write():
        time.sleep(0.2)
        path.write_text(corpora.PLAIN)

    writer = threading.Thread(target=write)
    writer.start()
    corpus = read_corpus(path)
    writer.join()
    assert len(corpus) == 20
    assert len(read_corpus(path)) == 20, "a second reader should get the same content"


def test_a_shell_pipe_is_read(tmp_path):
    """As in `<(zcat FILE)`, here with content that is still compressed."""
    read, write = os.pipe()
    threading.Thread(target=lambda: _write(write, gzip.compress(corpora.PLAIN.encode()))).start()
    assert len(read_corpus(f"/dev/fd/{read}")) == 20
    os.close(read)


def _write(number, data):
    with os.fdopen(number, "wb") as file:
        file.write(data)


def test_a_pipe_that_nothing_writes_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "WRITER_WAIT", 0.3)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(ValueError, match="it is a pipe that nothing wrote to for 0 seconds"):
        read_corpus(path)


def test_devices_are_refused_as_corpora():
    with pytest.raises(ValueError, match="/dev/zero: cannot read the corpus: it is a device"):
        read_corpus("/dev/zero")


EVIL = "[/red]\x1b[31m\u202e[bold]"


def test_printed_text_is_escaped():
    """Markup, escapes and bidirectional overrides in titles and types, in tables and in lines."""
    row = {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 3}
    report = {f"overall_{key}": 1.0 for key in ("precision", "recall", "f1")}
    for like in (None, Console(file=io.StringIO(), width=200, record=True)):
        console = terminal.console(like)
        with console.capture() if like is None else open(os.devnull) as held:
            console.print(score_table(EVIL, {**report, "per_type": {EVIL: row}}), EVIL)
        text = held.get() if like is None else console.file.getvalue()
        assert "[/red]\\x1b[31m\\u202e[bold]" in text
        assert not terminal.HIDDEN.search(text.replace("\x1b[1m", "").replace("\x1b[0m", ""))


def test_predictions_are_escaped():
    entity = {"entity_group": EVIL, "score": 1.0, "word": EVIL, "start": 0, "end": len(EVIL)}
    line = as_json(EVIL, [entity])
    assert not terminal.HIDDEN.search(line)
    assert json.loads(line)["text"] == EVIL
    assert "\x1b" not in as_pretty(EVIL, [entity], colour=False)


@pytest.mark.parametrize(
    ("work", "code", "sentence"),
    [
        (lambda: 3, 3, ""),
        (lambda: print("é…"), 0, ""),
        (lambda: 1 / int("x\x1b[2J"), 2, "\\x1b[2J"),
        (lambda: os.stat("/no/\udcff"), 74, "cannot read or write /no/\\udcff: No such file"),
        (lambda: "\udcff".encode(), 2, "is not valid Unicode"),
    ],
)
def test_every_command_ends_with_a_result_or_one_line(work, code, sentence, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), "ascii")
    error = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", error)
    assert terminal.guarded("x.py", work) == code
    text = error.buffer.getvalue().decode()
    assert text.count("\n") == bool(sentence)
    assert sentence in text


def test_a_closed_pipe_and_a_full_disk_are_handled(monkeypatch):
    def printing():
        terminal.console().print("x" * 100_000)

    for path, sentence in (("/dev/full", "cannot write standard output: No space left"),):
        if not os.path.exists(path):
            pytest.skip(f"{path} is not there")
        error = io.StringIO()
        monkeypatch.setattr(sys, "stderr", error)
        with open(path, "w") as full:
            monkeypatch.setattr(sys, "stdout", full)
            assert terminal.guarded("x.py", printing) == terminal.UNWRITABLE
            assert sentence in error.getvalue()
    read, write = os.pipe()
    os.close(read)
    for may_be_cut, code in ((True, 0), (False, terminal.UNWRITABLE)):
        with os.fdopen(os.dup(write), "w") as closed:
            monkeypatch.setattr(sys, "stdout", closed)
            assert terminal.guarded("x.py", printing, may_be_cut=may_be_cut) == code
    os.close(write)


def test_streams_that_were_closed_become_the_null_device(monkeypatch):
    """As `predict.py - <&- >&-` starts; Python then has None in their place."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)

    def work():
        assert not sys.stdout.isatty()
        assert not sys.stderr.isatty()
        return len(sys.stdin.read())

    assert terminal.guarded("x.py", work) == 0


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("file", lambda path: write_text(path, "x" * 2000)),
        ("weights", lambda path: write_tensors(path, {"a": np.zeros(2000)})),
        ("folder", lambda path: write_folder(path, EXPORT, _fill)),
    ],
)
def test_a_full_disk_is_reported_with_the_place(name, write, tmp_path, monkeypatch):
    """A limit on the size of files; such errors name none, and safetensors has its own class."""
    error = io.StringIO()
    monkeypatch.setattr(sys, "stderr", error)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        assert terminal.guarded("x.py", lambda: write(tmp_path / name)) == terminal.UNWRITABLE
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"cannot read or write {tmp_path / name}: File too large" in error.getvalue()
    assert not list(tmp_path.iterdir())


def _fill(draft):
    (draft / "program").write_bytes(b"x" * 2000)


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"JAX_PLATFORMS": "cuda"}, "JAX finds no device of the platform 'cuda'"),
        ({"XLA_FLAGS": "--no_such_flag=1"}, "Unknown flag in XLA_FLAGS: --no_such_flag=1"),
        ({"JAX_ENABLE_X64": "banana"}, "invalid truth value 'banana'"),
    ],
)
def test_invalid_environments_are_refused(whole, environment, sentence):
    # With JAX: ONNX Runtime would answer if another test has cached the model's graph.
    words = ("predict.py", "--model", whole, TEXT)
    refused(command(*words, FLAXNER_ENGINE="jax", **environment), sentence)


def test_reading_a_run_needs_no_device():
    """A conversion used to request one, to count processes."""
    code = "from flaxner.devices import processes; print(processes.on_main(lambda: 7))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cuda"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr


NOT_KEPT = {
    "jax": "compiled programs are not kept: cannot write {}/jax",
    "onnx": "the model's graph is not kept: cannot write {}/onnx",
}
UNWRITABLE = {
    "/dev/null/cache": "Not a directory",
    "{}/\udcff/cache": "its path is not UTF-8",
    "{}/" + "x" * 300: "File name too long",  # looking is an error, too
}
QUICK = list(zip(UNWRITABLE, ("jax", "onnx", "jax"), strict=True))
OTHERS = [pair for pair in itertools.product(UNWRITABLE, NOT_KEPT) if pair not in QUICK]


@pytest.mark.parametrize(
    ("cache", "engine"),
    [*QUICK, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in OTHERS)],
)
def test_an_ascii_terminal_and_no_home(whole, tmp_path, cache, engine):
    """ASCII output, warnings as errors and no writable cache still give an answer."""
    if engine == "onnx":
        pytest.importorskip("onnxruntime")
    # Compiling all sources again, with warnings as errors, takes long: one such cache is enough.
    sources = {"PYTHONPYCACHEPREFIX": "/dev/null/x"} if cache == "/dev/null/cache" else {}
    folder = cache.format(tmp_path)
    done = command(
        "predict.py", "--model", whole, "Ünal met Meier .", PYTHONIOENCODING="ascii",
        FLAXNER_ENGINE=engine, PYTHONWARNINGS="error", HOME="/dev/null", FLAXNER_CACHE=folder,
        JAX_COMPILATION_CACHE_DIR="", **sources,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == "Ünal met Meier ."
    assert done.stdout.isascii()
    lost = NOT_KEPT[engine].format(terminal.shown(folder))
    assert done.stderr == f"note: {lost} ({UNWRITABLE[cache]})\n"


def test_only_the_warning_about_torch_is_silenced(caplog):
    import logging

    import flaxner.data.tokenizer  # noqa: F401

    logger = logging.getLogger("transformers")
    for line, passes in (("PyTorch was not found. Models won't be", False), ("Something", True)):
        record = logger.makeRecord("transformers", logging.WARNING, "x", 1, line, (), None)
        assert bool(logger.filter(record)) is passes


def test_failed_saves_leave_no_tracebacks(monkeypatch):
    import logging
    from types import SimpleNamespace

    from flaxner.runs import noise

    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    monkeypatch.setattr(warnings, "_warn_unawaited_coroutine", warnings._warn_unawaited_coroutine)
    noise.hush.__wrapped__()
    with warnings.catch_warnings():
        for error, passes in ((RuntimeError("Event loop is closed"), 0), (RuntimeError("x"), 1)):
            sys.unraisablehook(SimpleNamespace(exc_value=error, object=None))
            assert len(seen) == passes
    for file, count in (("/site-packages/orbax/x.py", 0), ("/home/user/orbax.py", 1)):
        made = {}
        exec(compile("async def save(): pass", file, "exec"), made)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            made["save"]()
        assert len(said) == count, file
    logger, future = logging.getLogger("asyncio"), "Future exception was never retrieved\nfuture: "
    for error, passes in (
        ("RESOURCE_EXHAUSTED: Error writing 'classifier/bias/0' in OCDBT database at", False),
        ("no space left", True),
    ):
        record = logger.makeRecord("asyncio", logging.ERROR, "x", 1, future + error, (), None)
        assert bool(logger.filter(record)) is passes


@pytest.mark.slow
def test_too_few_file_descriptors_are_a_one_line_error(tmp_path):
    """Orbax fails in the middle of a save; the noise of its unfinished tasks is not shown."""
    resource = pytest.importorskip("resource")
    few = (20, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    done = subprocess.run(
        chaos.command(tmp_path, "run", epochs=1), cwd=ROOT, env=chaos.environment(),
        capture_output=True, text=True, check=False, timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, few),
    )  # fmt: skip
    assert done.returncode == 74
    assert "Too many open files; no checkpoint yet; start again with" in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


LOST = """
import gc, os, signal, sys, time
from flaxner.terminal import guarded

def callback(phase, info):
    if not pressed:
        pressed.append(1)
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # the KeyboardInterrupt is raised here, and goes nowhere
            pass

def work():
    gc.callbacks.append(callback)
    gc.collect()
    print("went on", flush=True)
    for _ in range(100):
        time.sleep(0.1)

pressed = []
sys.exit(guarded("x", work))
"""


def _ended(code):
    """Run code in a process; return its exit code and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_ctrl_c_within_a_garbage_collection_counts():
    """JAX has a callback there; what is raised in one is ignored."""
    assert _ended(LOST) == (130, "went on\n", "x: interrupted\n")


def test_ctrl_c_within_a_garbage_collection_of_a_run_is_no_second_one():
    """Its repetition used to end the run at once, without a word."""
    start = "import contextlib\nfrom flaxner.training.stopping import Interruption\n"
    running = LOST.replace("def work():\n", "def work():\n    stack.enter_context(i)\n")
    ready = 'stack = contextlib.ExitStack()\ni = Interruption(print)\nsys.exit(guarded("x", work))'
    code = start + running.replace('sys.exit(guarded("x", work))', ready)
    assert _ended(code) == (130, "went on\n", "x: interrupted\n")


LOADING = """
import os, signal, sys, time
from flaxner.terminal import guarded

def hook(event, arguments):
    if event == "import" and arguments[1] and not pressed:  # a native module's file is loaded
        pressed.append(1)
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):  # a KeyboardInterrupt would be raised here
            pass

def work():
    sys.addaudithook(hook)
    import _zoneinfo
    print("loaded", flush=True)
    for _ in range(100):
        time.sleep(0.1)

pressed = []
sys.exit(guarded("x", work))
"""


def test_ctrl_c_waits_while_a_native_module_is_loaded():
    """JAX's crash on it, or end with an ImportError that hides it."""
    assert _ended(LOADING) == (130, "loaded\n", "x: interrupted\n")


LOGGING = """
import logging
from flaxner.terminal import guarded

def work():
    import huggingface_hub.utils.logging as hub
    from absl import logging as absl  # Orbax logs with it
    absl.vlog(1, "nothing")
    hub.get_logger("huggingface_hub.client").warning("Retrying in 1s")
    logging.getLogger("flaxner").warning("mind this")

guarded("x", work)
"""


def test_library_warnings_are_printed_once():
    """absl installs a log handler, which used to print the Hub client's warnings again."""
    done = subprocess.run(
        [sys.executable, "-c", LOGGING], capture_output=True, text=True, check=True
    )
    assert done.stderr.splitlines() == ["Retrying in 1s", "mind this"]


WARNING = """
import io, logging, sys
from flaxner.terminal import guarded

def work():
    sys.stderr = replaced = io.StringIO()
    logging.getLogger("flaxner").warning("mind %s", chr(27) + "[2J this")
    print(replaced.getvalue())

guarded("x", work)
"""


def test_a_warning_is_printed_above_a_progress_bar():
    """A bar replaces standard error; a message past it would tear the bar, and could clear it."""
    done = subprocess.run(
        [sys.executable, "-c", WARNING], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("mind \\x1b[2J this\n\n", "")
