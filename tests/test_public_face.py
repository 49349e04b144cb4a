"""What `from flaxner import ...` offers, whatever the order in which modules are imported."""

import pkgutil
import subprocess
import sys

import pytest

import flaxner


@pytest.mark.parametrize("name", flaxner.__all__)
def test_every_public_name_is_there(name):
    assert callable(getattr(flaxner, name))


def test_no_module_shares_the_name_of_a_public_function():
    """Importing flaxner.NAME would put the module where users expect the function."""
    modules = {module.name for module in pkgutil.iter_modules(flaxner.__path__)}
    assert modules.isdisjoint(flaxner.__all__)


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, flaxner; print(sorted({'jax', 'transformers', 'torch'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        flaxner.nope  # noqa: B018
