"""The docs: no link is dead, every page is in the menu, the notebook runs."""

import dataclasses
import itertools
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flaxner.config.train import TrainConfig

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *DOCS.rglob("*.md")]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def prose(path):
    return re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text("utf-8"), flags=re.DOTALL)


def anchors(path):
    """Return the anchors that GitHub and mkdocs derive from headings."""
    found = set()
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("#"):
            title = re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower())
            found.add(title.strip().replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead(page):
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        place = (page.parent / target).resolve() if target else page
        assert place.exists(), f"{page.name} links to {link}, which does not exist"
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place), f"{page.name} links to {link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_stand_apart_from_text(page):
    """A line of text right below a table is a row of it, one right above it hides it."""
    lines = [line.strip() for line in page.read_text("utf-8").splitlines()]
    for above, below in itertools.pairwise(lines):
        if above and below and above.startswith("|") != below.startswith("|"):
            raise AssertionError(f"{page.name}: no empty line between {above!r} and {below!r}")


def test_the_readme_has_the_two_commands_of_ci():
    """Each is on a line of its own, where `.ci/run` finds it."""
    commands = re.findall(r'command_of_readme "([^"]+)"', (ROOT / ".ci" / "run").read_text("utf-8"))
    assert len(commands) == 2
    assert set(commands) <= set((ROOT / "README.md").read_text("utf-8").splitlines())


def test_every_page_is_in_the_menu():
    named = re.findall(r": ([\w/]+\.(?:md|ipynb))", (ROOT / "mkdocs.yml").read_text("utf-8"))
    pages = {str(p.relative_to(DOCS)) for p in DOCS.rglob("*") if p.suffix in (".md", ".ipynb")}
    assert set(named) == pages


def test_every_setting_is_in_the_table():
    sys.path.insert(0, str(DOCS))
    try:
        import hooks
    finally:
        sys.path.remove(str(DOCS))
    page = hooks.on_page_markdown((DOCS / "settings.md").read_text("utf-8"))
    for field in dataclasses.fields(TrainConfig):
        assert f"| `{field.name}` | `--{field.name.replace('_', '-')}` |" in page


@pytest.mark.slow
def test_the_site_builds(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tutorial" / "index.html").is_file()


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    import nbformat

    shutil.copy(DOCS / "tutorial.ipynb", tmp_path)
    notebook = nbformat.read(tmp_path / "tutorial.ipynb", 4)
    options = {"timeout": 900, "resources": {"metadata": {"path": str(tmp_path)}}}
    nbclient.NotebookClient(notebook, kernel_name="python3", **options).execute()
    printed = str([cell.get("outputs") for cell in notebook.cells])
    assert "B-DISH" in printed
    assert (tmp_path / "runs" / "dishes" / "hub" / "model.safetensors").is_file()
