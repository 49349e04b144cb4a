"""tpu_setup.sh: its dry run in a fresh folder, its refusals, and shellcheck."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "tpu_setup.sh"


def run(folder, *flags, timeout=300):
    environment = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "PYTHONPATH")}
    command = ["bash", str(folder / "tpu_setup.sh"), *flags]
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=timeout, cwd=folder
    )


@pytest.fixture
def clone(tmp_path):
    """The files of a clone, in a separate folder."""
    folder = tmp_path / "a clone"
    shutil.copytree(ROOT / "flaxner", folder / "flaxner")
    for name in ("tpu_setup.sh", "constraints.txt", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def test_impossible_requests_are_refused(clone):
    for flags, words in (
        (["--gpus"], "unknown argument --gpus; choose from: --gpu"),
        (["--venv"], "--venv needs a folder"),
        (["--cpu-dry-run", "--no-install"], "--no-install needs an existing environment"),
    ):
        made = run(clone, *flags)
        assert made.returncode == 2
        assert words in made.stderr
        assert made.stderr.count("\n") == 1
    (clone / "pyproject.toml").unlink()
    assert "must be run from a clone" in run(clone, "--cpu-dry-run").stderr


def test_the_dry_run_writes_the_same_environment_twice(clone):
    venv = Path(sys.prefix)
    flags = ["--cpu-dry-run", "--no-install", "--no-check", "--venv", str(venv)]
    first = run(clone, *flags)
    assert first.returncode == 0, first.stderr
    text = (clone / ".flaxner-env").read_text()
    assert "JAX_PLATFORMS=cpu" in text
    assert "JAX_COMPILATION_CACHE_DIR" in text
    flags[-1] = os.path.relpath(venv, clone)  # a relative path gives the same file
    assert run(clone, *flags).returncode == 0
    assert (clone / ".flaxner-env").read_text() == text
    assert sorted(p.name for p in clone.glob(".flaxner-env*")) == [".flaxner-env"]


def test_the_constraints_allow_what_the_project_requires():
    """Each dependency is pinned to one version there, which pyproject.toml accepts."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needs = [*project["dependencies"]]
    for extra in ("tpu", "preflight"):
        needs += project["optional-dependencies"][extra]
    for need in map(Requirement, needs):
        version = pins[canonicalize_name(need.name)]
        assert need.specifier.contains(version), f"{need} against {version}"
    assert pins["jax"] == pins["jaxlib"] == pins["jax-cuda13-plugin"]


@pytest.mark.slow
@pytest.mark.network
def test_a_real_installation_is_pinned_and_ready(clone):
    """Installs into its own environment from the package index; then nothing is left to do."""
    made = run(clone, "--cpu-dry-run", timeout=1500)
    assert made.returncode == 0, made.stderr
    assert made.stdout.splitlines()[-1].startswith("== READY")
    pip = [str(clone / ".venv" / "bin" / "python"), "-m", "pip", "list", "--format=freeze"]
    listed = subprocess.run(pip, capture_output=True, text=True, check=True).stdout.splitlines()
    found = {canonicalize_name(a): b for a, _, b in (line.partition("==") for line in listed)}
    pins = dict(
        line.split("==")
        for line in (clone / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    )
    assert {"jax", "flax", "transformers"} <= set(found)
    loose = {name: v for name, v in found.items() if pins.get(name, v) != v}
    assert not loose
    assert run(clone, "--cpu-dry-run", "--no-check").returncode == 0


@pytest.mark.slow
def test_the_dry_run_ends_in_a_verdict(clone):
    made = run(clone, "--cpu-dry-run", "--no-install", "--venv", sys.prefix)
    assert made.returncode == 0, made.stderr
    assert "the sum over all of them is correct" in made.stdout
    assert "20 steps in" in made.stdout
    assert made.stdout.splitlines()[-1].startswith("== READY")


def test_shellcheck_is_clean():
    checker = shutil.which("shellcheck")
    if checker is None:
        pytest.skip("shellcheck is not installed")
    made = subprocess.run([checker, str(SCRIPT)], capture_output=True, text=True)
    assert made.returncode == 0, made.stdout
