"""tpu_setup.sh: its dry run in a clean directory, its refusals, shellcheck."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "tpu_setup.sh"


def run(folder, *flags):
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "PYTHONPATH")}
    command = ["bash", str(folder / "tpu_setup.sh"), *flags]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=300, cwd=folder
    )


@pytest.fixture
def clone(tmp_path):
    """The files of a clone, in a directory of their own."""
    folder = tmp_path / "a clone"
    shutil.copytree(ROOT / "flaxner", folder / "flaxner")
    for name in ("tpu_setup.sh", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def test_what_cannot_work_is_refused(clone):
    for flags, words in (
        (["--gpus"], "unknown argument --gpus; known: --gpu"),
        (["--venv"], "--venv needs a folder"),
        (["--cpu-dry-run", "--no-install"], "--no-install needs an environment"),
    ):
        made = run(clone, *flags)
        assert made.returncode == 2
        assert words in made.stderr
        assert made.stderr.count("\n") == 1
    (clone / "pyproject.toml").unlink()
    assert "must stand in a clone" in run(clone, "--cpu-dry-run").stderr


def test_the_dry_run_writes_the_environment_twice_the_same(clone):
    venv = Path(sys.prefix)
    flags = ["--cpu-dry-run", "--no-install", "--no-check", "--venv", str(venv)]
    first = run(clone, *flags)
    assert first.returncode == 0, first.stderr
    text = (clone / ".flaxner-env").read_text()
    assert "JAX_PLATFORMS=cpu" in text
    assert "JAX_COMPILATION_CACHE_DIR" in text
    assert run(clone, *flags).returncode == 0
    assert (clone / ".flaxner-env").read_text() == text
    assert sorted(p.name for p in clone.glob(".flaxner-env*")) == [".flaxner-env"]


@pytest.mark.slow
def test_the_dry_run_ends_in_a_verdict(clone):
    made = run(clone, "--cpu-dry-run", "--no-install", "--venv", sys.prefix)
    assert made.returncode == 0, made.stderr
    assert "a sum over all of them is right" in made.stdout
    assert "20 steps in" in made.stdout
    assert made.stdout.splitlines()[-1].startswith("== READY")


def test_shellcheck_is_clean():
    checker = shutil.which("shellcheck")
    if checker is None:
        pytest.skip("shellcheck is not installed")
    made = subprocess.run([checker, str(SCRIPT)], capture_output=True, text=True)
    assert made.returncode == 0, made.stdout
