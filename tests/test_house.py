"""The project's own rules; pyproject.toml defines allowed imports, for `lint-imports`."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "flaxner"


def test_imports_go_down_only():
    """The same as `lint-imports` in CI; skipped if import-linter is not installed."""
    pytest.importorskip("importlinter")
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_architecture_page_lists_every_package():
    rows = (ROOT / "docs" / "architecture.md").read_text("utf-8").splitlines()
    drawn = " ".join(row.split("|")[2] for row in rows if row.count("|") == 4)
    for path in PACKAGE.iterdir():
        name = path.stem
        if path.suffix in ("", ".py") and not name.startswith("__") and name != "presets":
            assert f"`{name}`" in drawn, f"docs/architecture.md does not show {name}"


def test_modules_stay_readable():
    for path in PACKAGE.rglob("*.py"):
        lines = path.read_text("utf-8").splitlines()
        assert len(lines) <= 330, f"{path.name} has {len(lines)} lines"
        assert "utils" not in path.name


def test_scripts_stay_thin():
    for path in (ROOT / "scripts").glob("*.py"):
        assert len(path.read_text("utf-8").splitlines()) <= 40, path.name
