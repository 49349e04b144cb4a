"""What `from flaxner import ...` offers, whatever the order in which modules are imported."""

import ast
import os
import pkgutil
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import flaxner
from flaxner.models.encoders import ENCODERS

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", flaxner.__all__)
def test_every_public_name_is_there(name):
    assert callable(getattr(flaxner, name))


def test_type_checkers_and_editors_see_every_public_name():
    tree = ast.parse(Path(flaxner.__file__).read_text("utf-8"))
    seen = {
        name.asname: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        for name in node.names
    }
    assert seen == flaxner._HOMES
    assert set(flaxner.__all__) <= set(dir(flaxner))


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_every_encoder_has_a_public_class(encoder):
    public = getattr(flaxner, f"Flax{encoder.architecture}")
    assert issubclass(public, encoder.network)


def test_no_module_shares_the_name_of_a_public_function():
    """Importing flaxner.NAME would put the module where users expect the function."""
    modules = {module.name for module in pkgutil.iter_modules(flaxner.__path__)}
    assert modules.isdisjoint(flaxner.__all__)


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, flaxner; print(sorted({'jax', 'transformers', 'torch'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_an_editable_installation_is_found_from_the_folder_above_the_checkout(tmp_path):
    """There, Python would take a checkout named flaxner for a namespace package of that name."""
    pytest.importorskip("setuptools", minversion="77")
    checkout = tmp_path / "flaxner"
    (checkout / "flaxner").mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE", "flaxner/__init__.py"):
        shutil.copy(ROOT / name, checkout / name)
    build = "import setuptools.build_meta as backend; print(backend.build_editable('..'))"
    printed = subprocess.check_output([sys.executable, "-c", build], cwd=checkout, text=True)
    with zipfile.ZipFile(tmp_path / printed.split()[-1]) as wheel:
        wheel.extractall(tmp_path / "installed")
    code = (
        f"import site; site.addsitedir({str(tmp_path / 'installed')!r})\n"
        "import flaxner; print(flaxner.__file__)"
    )
    command = [sys.executable, "-S", "-c", code]
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
    found = subprocess.check_output(command, cwd=tmp_path, env=environment, text=True)
    assert found.strip() == str(checkout / "flaxner" / "__init__.py")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        flaxner.nope  # noqa: B018
