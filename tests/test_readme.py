"""Runs the README's examples and the torch snippet as written, with a smaller model."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conll import sentences, write_conll

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = [line for line in re.findall(r"`python (scripts/[^`]+)`", README) if " " in line]
[TRAIN] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
PUBLISHING = (ROOT / "docs" / "publishing.md").read_text("utf-8")
[TORCH] = re.findall(r"```python\n(.*?)```", PUBLISHING, re.DOTALL)
# What a placeholder stands for; everything else runs exactly as written.
STANDS_FOR = {"M": "runs/mine/hub", "RUN": "runs/mine", "A": "runs/mine", "B": "runs/mine"}
ELSEWHERE = {
    "sweep.py": "trains twenty times: tests/test_sweep.py",
    "serve.py": "runs until it is stopped: tests/test_server.py",
    "--push-to-hub": "needs the Hub: here with --dry-run",
}
NEEDS = {"preflight.py": "libtpu", "audit.py": "cleanlab", "export.py": "flatbuffers"}


def run(command, folder):
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, f"{shlex.join(map(str, command))}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A newcomer's folder: three corpora, and the results of the README's Python snippet."""
    folder = tmp_path_factory.mktemp("newcomer")
    for name, count in (("train", 64), ("dev", 16), ("test", 16)):
        write_conll(folder / f"{name}.conll", sentences(count))
    train = TRAIN.replace("google-bert/bert-base-cased", "flaxner:tiny")
    run([sys.executable, "-c", train], folder)
    shown = 'print(ner("Angela Merkel spoke in Berlin."))'
    assert "[" in run([sys.executable, "-c", f"{TORCH}\n{shown}"], folder)
    return folder


@pytest.mark.slow
def test_python(folder):
    assert (folder / "runs" / "mine" / "results.json").is_file()
    assert (folder / "runs" / "mine" / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command, folder):
    script, *words = shlex.split(command)
    name = Path(script).name
    if name in ELSEWHERE:
        pytest.skip(ELSEWHERE[name])
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    words = [STANDS_FOR.get(word, word) for word in words]
    if "--push-to-hub" in words:
        words.append("--dry-run")
    run([sys.executable, ROOT / script, *words], folder)


def test_every_named_script_and_flag_exists():
    for script in re.findall(r"scripts/(\w+\.py)", README):
        assert (ROOT / "scripts" / script).is_file() or script == "NAME.py"
    for flag in re.findall(r"(--[a-z][\w-]+)", README):
        assert any(flag in text for text in _flags()), f"no command has {flag}"


def _flags():
    from flaxner.commands import COMMANDS as commands

    for command in commands.values():
        yield {
            flag for action in command.load().parser()._actions for flag in action.option_strings
        }
    yield {"--help", "--version"}
